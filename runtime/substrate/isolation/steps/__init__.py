"""The steps of the isolation sequence, one file per area."""
