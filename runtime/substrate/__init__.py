"""Substrate: run a command one does not trust in a world, and see exactly what it changed."""

__version__ = "0.1.0"
