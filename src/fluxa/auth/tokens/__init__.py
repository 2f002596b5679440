"""Access tokens: what a person's client sends with each request after a login. Not: logins and sessions themselves."""

from fluxa.auth.tokens.access import AccessTokens, Names
from fluxa.auth.tokens.port import LiveSessions, Tokens
from fluxa.auth.tokens.ring import KeyRing
from fluxa.auth.tokens.sealing import Sealer
from fluxa.auth.tokens.signing_keys import PURPOSE, SigningKeys

__all__ = ["PURPOSE", "AccessTokens", "KeyRing", "LiveSessions", "Names", "Sealer", "SigningKeys", "Tokens"]
