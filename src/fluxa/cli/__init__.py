"""The command line: the entry point, how results and errors are shown, and the commands. No decisions of its own."""
