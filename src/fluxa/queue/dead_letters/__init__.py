"""Dead letters: choose, send again, export; not how an engine keeps them (backends)."""
