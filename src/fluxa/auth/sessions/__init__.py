"""Sessions: who is logged in, and until when. One port, an implementation for Postgres and one for Valkey."""

from fluxa.auth.sessions.port import NewSession, Session, SessionLimits, Sessions

__all__ = ["NewSession", "Session", "SessionLimits", "Sessions"]
