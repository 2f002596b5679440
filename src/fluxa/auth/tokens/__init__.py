"""Access tokens: what a person's client sends with each request after a login. Not: logins and sessions themselves."""

from fluxa.auth.tokens.port import LiveSessions, Tokens

__all__ = ["LiveSessions", "Tokens"]
