"""One file a command group; each parses, calls and prints. What they share is above (output, errors) or in client."""
