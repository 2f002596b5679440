"""Logins, sessions and users over HTTP."""
