"""Who may call what cron calls: signed calls, the override token, and while it is switched on the old static secret."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Protocol

from fluxa.auth import hmac_signature
from fluxa.auth.hmac_signature import Signature
from fluxa.auth.principal import Kind, Principal, Reason, unauthenticated
from fluxa.auth.roles import Role
from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.telemetry.log import Logger
from fluxa.web.bodies import Bodies
from fluxa.web.identity.guard import Admitted, Approach, again
from fluxa.web.routes import Scope

OVERRIDE = b"x-fluxa-override"
LEGACY = b"x-internal-secret"
SIGNER: Final = "cron"
"""Whose nonces these are."""
BODY_MAX_BYTES: Final = 64 * 1024
"""The longest body of a signed call: it is in memory before the caller is known."""

_KEEP_S: Final = 86_400.0
"""A call signed at the far end of the window can be accepted for two windows, ten minutes; the rest is for clocks that
are set: the database's forward, or this machine's back, by hours."""


class NonceBook(Protocol):
    """Remembers nonces."""

    async def take(self, signer: str, nonce: str, *, keep_s: float) -> bool:
        """Use a nonce; False, if it was used before."""
        ...


@dataclass(frozen=True, slots=True)
class CronRights:
    """What opens the routes of `Auth.CRON`; with none of it, nothing does.

    Attributes:
        secrets: sign calls; newest first, several while they are rotated.
        override: a token for a person in an emergency; each use is a warning in the log.
        legacy: the static secret of before; None unless legacy mode is on. Each use is a warning in the log.
    """

    secrets: tuple[bytes, ...] = ()
    override: bytes | None = None
    legacy: bytes | None = None


class CronGuard:
    """Admits cron jobs. A `Guard`.

    A call that carries any header of a signature is judged by that alone: a bad signature is not healed by a token.

    Args:
        rights: what opens.
        nonces: where used ones are remembered, for all machines.
        tenant: as whom an admitted call acts.
        clock: judges timestamps.
        logger: hears of each use of the override token and of the old secret.
        bodies: reads the body of a signed call.
    """

    def __init__(
        self,
        rights: CronRights,
        nonces: NonceBook,
        *,
        tenant: Tenant,
        clock: Clock,
        logger: Logger,
        bodies: Bodies | None = None,
    ) -> None:
        self._rights = rights
        self._nonces = nonces
        self._tenant = tenant
        self._clock = clock
        self._logger = logger
        self._bodies = bodies or Bodies(max_bytes=BODY_MAX_BYTES)

    def use(self, rights: CronRights) -> None:
        """From now on this opens, and nothing else."""
        self._rights = rights

    async def __call__(self, approach: Approach) -> Admitted:
        """Admit the caller.

        Raises:
            FluxaError: `Unauthenticated`; an outage, when nobody can tell whether a nonce was used; what reading a
                body may end with.
        """
        headers: list[tuple[bytes, bytes]] = approach.scope["headers"]
        if hmac_signature.is_signed(headers):
            return await self._signed(approach, hmac_signature.read(headers))
        if self._opens(self._rights.override, OVERRIDE, approach):
            return self._told("override token used", "override", approach)
        if self._opens(self._rights.legacy, LEGACY, approach):
            return self._told("legacy secret used", "legacy", approach)
        tried = any(name in (OVERRIDE, LEGACY) for name, _ in headers)
        raise unauthenticated(
            Reason.UNKNOWN if tried else Reason.MISSING,  # who guesses a token is counted with those who guess
            "This call must be signed: X-Fluxa-Timestamp, X-Fluxa-Nonce and X-Fluxa-Signature, with a secret of the "
            "setting cron_secrets.",
        )

    async def _signed(self, approach: Approach, signature: Signature) -> Admitted:
        signature.check_time(self._clock.now().timestamp())  # first what costs nothing
        async with self._bodies.read(approach.scope, approach.receive) as body:
            place = signature.signer(
                self._rights.secrets,
                method=approach.scope["method"].encode(),
                target=_target(approach.scope),
                body=body,
            )
        if place is None:
            raise unauthenticated(
                Reason.SIGNATURE,
                "The signature is not that of this request, made with a secret that is in force.",
            )
        # Only now: whoever cannot sign cannot fill the table either.
        if not await self._nonces.take(SIGNER, signature.nonce.decode(), keep_s=_KEEP_S):
            raise unauthenticated(Reason.REPLAYED, "This call was made before: its nonce is used. Sign it anew.")
        if place:
            self._logger.info("older cron secret used", place=place + 1, correlation_id=approach.correlation_id)
        return Admitted(self._principal(SIGNER), again(body, approach.receive))

    def _principal(self, name: str) -> Principal:
        return Principal(self._tenant, name, Role.SERVICE, Kind.MACHINE, name)

    def _opens(self, secret: bytes | None, header: bytes, approach: Approach) -> bool:
        given = [value for name, value in approach.scope["headers"] if name == header]
        if secret is None or len(given) != 1:
            return False
        # Digests have one length, so the time taken does not tell the secret's.
        return hmac.compare_digest(hashlib.sha256(given[0]).digest(), hashlib.sha256(secret).digest())

    def _told(self, what: str, name: str, approach: Approach) -> Admitted:
        client = approach.scope.get("client")
        self._logger.warning(
            what,
            method=approach.scope["method"],
            path=approach.scope["path"],
            client=client[0] if client else "",
            correlation_id=approach.correlation_id,
        )
        return Admitted(self._principal(name), approach.receive)


def _target(scope: Scope) -> bytes:
    """The path and the query as they were sent: what is not signed could be changed on the way."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path
