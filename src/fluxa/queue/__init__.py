"""Queues: what they carry, the port that every engine fills, and what happens to work that fails."""
