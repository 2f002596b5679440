"""Outside services behind ports of our own."""
