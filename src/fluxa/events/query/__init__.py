"""Finds stored events, follows new ones, and tells the story of a correlation id."""
