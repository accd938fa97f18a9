"""The command line: the only click imports and the only printing."""
