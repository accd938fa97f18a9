"""The lifecycle of worlds: their store, their states, one file per verb."""
