"""API keys: where they are kept, and how they are checked on the way of every request."""
