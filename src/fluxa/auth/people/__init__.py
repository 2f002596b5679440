"""People: users, their passwords, logins and refresh tokens. Not: sessions (sessions) or access tokens (tokens)."""
