"""The command line: one file a command group; each parses, calls and prints. No decisions of its own."""
