"""world-init, the libc-free program that is a world's first process, and how it is compiled."""
