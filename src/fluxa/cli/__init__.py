"""One file a command group; parses, calls, prints."""
