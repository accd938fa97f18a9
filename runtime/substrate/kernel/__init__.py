"""System calls and kernel files; knows no OCI word and no policy."""
