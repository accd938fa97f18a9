"""The world API: what is asked of a world and what comes back, here or over a socket."""
