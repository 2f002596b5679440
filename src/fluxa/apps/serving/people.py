"""Builds what knows people: users, logins, sessions. Not: the routes (station) or the commands (cli)."""

from dataclasses import dataclass

from fluxa.auth.audit import Audit
from fluxa.auth.people.attempts import Attempts
from fluxa.auth.people.logins import Logins
from fluxa.auth.people.oidc.links import Links
from fluxa.auth.people.passwords import Passwords
from fluxa.auth.people.users import Users
from fluxa.auth.sessions import Sessions
from fluxa.kernel.clock import Clock
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import Hook, silent


@dataclass(frozen=True, slots=True)
class People:
    """What knows people.

    Attributes:
        users: makes and changes them.
        logins: lets them in.
        attempts: what is held against names.
        sessions: who is logged in.
        links: who people at OpenID providers are here.
    """

    users: Users
    logins: Logins
    attempts: Attempts
    sessions: Sessions
    links: Links


def know_people(database: Database, sessions: Sessions, audit: Audit, clock: Clock, *, hook: Hook = silent) -> People:
    """The people of one database."""
    passwords, attempts = Passwords(), Attempts(database, clock)
    users = Users(database, passwords=passwords, sessions=sessions, attempts=attempts, audit=audit, clock=clock)
    logins = Logins(
        database, passwords=passwords, sessions=sessions, attempts=attempts, audit=audit, clock=clock, hook=hook
    )
    links = Links(database, users=users, sessions=sessions, audit=audit, clock=clock)
    return People(users, logins, attempts, sessions, links)
