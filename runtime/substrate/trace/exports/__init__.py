"""The trace in the words of other systems: pure functions from records to JSON."""
