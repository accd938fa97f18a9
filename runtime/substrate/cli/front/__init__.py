"""`substrate`, the executable for people and agents: one module for each of its verbs."""
