"""Who may call the rows of `Auth.WEBHOOK`: the providers that the row names, by their own signatures. Not: replays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fluxa.auth.principal import Kind, Principal
from fluxa.auth.roles import Role
from fluxa.auth.webhooks import Message, Scheme, Verified, WebhookRefusedError
from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.telemetry.log import Logger
from fluxa.web.bodies import MIB, Bodies
from fluxa.web.identity.guard import Admitted, Approach, again
from fluxa.web.routes import Scope

BODY_MAX_BYTES: Final = MIB
"""The longest webhook: it is in memory before the sender is known."""
_DELIVERY: Final = "fluxa.webhook"


@dataclass(frozen=True, slots=True)
class Source:
    """One sender.

    Attributes:
        scheme: how it signs, with its secrets.
        window_s: seconds for which a delivery with a signed time could be accepted again.
        remember_s: seconds for which one without is known again; its signature holds for ever.
    """

    scheme: Scheme
    window_s: float
    remember_s: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook whose sender is proved.

    Attributes:
        source: which one, as `webhook_secrets` names it.
        verified: what is proved.
        remember_s: seconds for which it is to be known again.
    """

    source: str
    verified: Verified
    remember_s: float


def delivery_of(scope: Scope) -> Delivery:
    """The delivery that a request to a row of `Auth.WEBHOOK` is."""
    found: Delivery = scope[_DELIVERY]
    return found


class WebhookGuard:
    """Admits webhooks. A `Guard`.

    A row's sources are asked in turn whether a request looks like theirs; nothing in it can choose a source that the
    row does not name. Whoever is refused reads one and the same text, the log has the reason.

    Args:
        sources: senders and their secrets, by name.
        tenant: as whom an admitted webhook acts.
        clock: judges timestamps.
        logger: hears why webhooks are refused.
        bodies: reads bodies.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        tenant: Tenant,
        clock: Clock,
        logger: Logger,
        bodies: Bodies | None = None,
    ) -> None:
        self._sources = dict(sources)
        self._tenant = tenant
        self._clock = clock
        self._logger = logger
        self._bodies = bodies or Bodies(max_bytes=BODY_MAX_BYTES)

    def use(self, sources: Mapping[str, Source]) -> None:
        """From now on these senders and secrets count."""
        self._sources = dict(sources)

    async def __call__(self, approach: Approach) -> Admitted:
        """Admit the sender.

        Raises:
            FluxaError: `Unauthenticated`, whatever is wrong with it; what reading a body may end with.
        """
        async with self._bodies.read(approach.scope, approach.receive) as body:
            message = Message(approach.scope["headers"], body)
        delivery = self._judged(message, approach)
        approach.scope[_DELIVERY] = delivery
        name = f"webhook:{delivery.source}"
        principal = Principal(self._tenant, name, Role.INTEGRATION, Kind.MACHINE, delivery.source)
        return Admitted(principal, again(body, approach.receive))

    def _judged(self, message: Message, approach: Approach) -> Delivery:
        now_s = self._clock.now().timestamp()
        reasons: dict[str, str] = {}
        for name in approach.route.sources:
            source = self._sources.get(name)
            if source is None:
                reasons[name] = "webhook_secrets has no secret for it"
                continue
            if not source.scheme.claims(message):
                reasons[name] = "nothing of its signature is there"
                continue
            try:
                verified = source.scheme.verify(message, now_s=now_s)
            except WebhookRefusedError as error:
                reasons[name] = error.reason
                continue
            if verified.place:
                self._logger.info("older webhook secret used", source=name, place=verified.place + 1)
            remember_s = source.remember_s if verified.signed_at_s is None else source.window_s
            return Delivery(name, verified, remember_s)
        reason = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        self._logger.warning(
            "webhook refused", route=approach.route.name, reason=reason, correlation_id=approach.correlation_id
        )
        raise WebhookRefusedError(reason)
