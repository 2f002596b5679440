"""Synthetic checks over HTTP: how they stand, and what they found before."""
