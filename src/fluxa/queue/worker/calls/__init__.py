"""One call of a handler: what it gets, how long it may take, and what comes of it."""
