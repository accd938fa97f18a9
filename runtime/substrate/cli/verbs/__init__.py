"""One file per verb of `substrate-runtime`, imported only when the verb is called."""
