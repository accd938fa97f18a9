"""The overlay layers of a world and the exact list of what they changed."""
