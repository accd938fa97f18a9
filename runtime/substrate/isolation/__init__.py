"""From a configuration to a process in its world."""
