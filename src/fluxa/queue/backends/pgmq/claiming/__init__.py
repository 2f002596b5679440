"""How messages are claimed from PGMQ's tables: where to look, how often, and whose turn it is."""
