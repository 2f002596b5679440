"""What a caller is to its tenant: one of six roles (SEC-2). Not: which role opens which route (the route table)."""

import enum


class Role(enum.StrEnum):
    """A role; it says nothing by itself: each row of the route table names those that may call it."""

    ADMIN = "admin"
    """Runs everything, and says who else may."""
    MANAGER = "manager"
    """Runs the work: queues, dead letters, alarms; changes no rights."""
    ANALYST = "analyst"
    """Reads."""
    AGENT = "agent"
    """Works with customers' data, and sees how the work goes."""
    INTEGRATION = "integration"
    """Another program: sends events and reads them back."""
    SERVICE = "service"
    """A part of the product itself: what an integration may, and what its own operation needs."""


EVERY_ROLE = frozenset(Role)
"""All of them."""
ADMINS = frozenset({Role.ADMIN})
"""Who says what others may."""
OPERATORS = frozenset({Role.ADMIN, Role.MANAGER, Role.SERVICE})
"""Who runs the work."""
READERS = EVERY_ROLE - {Role.AGENT}
"""Who reads events."""
WATCHERS = OPERATORS | {Role.ANALYST, Role.AGENT}
"""Who sees how the work goes."""
SENDERS = frozenset({Role.ADMIN, Role.MANAGER, Role.INTEGRATION, Role.SERVICE})
"""Who sends events."""
