"""The application that a process serves: the user's own where the settings name one, tuned as the settings say."""

import dataclasses
from typing import Any, TypeVar

from fluxa.application import Fluxa
from fluxa.apps.application.user_app import load_app
from fluxa.apps.settings import Settings
from fluxa.apps.settings.tables.tuning import QueueTuning
from fluxa.queue.backend import KeyRule
from fluxa.queue.registry import QueueSpec

T = TypeVar("T")


def application(settings: Settings) -> Fluxa:
    """The queues and handlers of this process.

    Raises:
        FluxaError: `Configuration`, if the user's program cannot be loaded or is none.
    """
    app = Fluxa() if settings.app is None else load_app(settings.app)
    for name, tuning in settings.queues.items():
        app.queue(tuned(app.registry.get(name) if name in app.registry else QueueSpec(name), tuning))
    return app


def tuned(spec: QueueSpec, tuning: QueueTuning) -> QueueSpec:
    """A queue as its code declares it, with what the settings say instead."""
    retry = _with(spec.retry, attempts_max=tuning.attempts_max, base_s=tuning.retry_base_s, cap_s=tuning.retry_cap_s)
    if tuning.classes:
        retry = dataclasses.replace(retry, overrides={**retry.overrides, **tuning.classes})
    keys = spec.keys
    if tuning.key_limit is not None or tuning.ordered is not None:
        keys = _with(keys or KeyRule(), limit=tuning.key_limit, ordered=tuning.ordered)
    return _with(
        spec,
        description=tuning.description,
        priority=tuning.priority,
        batch=tuning.batch,
        concurrency=tuning.concurrency,
        lease_s=tuning.lease_s,
        timeout_s=tuning.timeout_s,
        envelope_records=tuning.envelope_records,
        retry=retry,
        keys=keys,
        breaker=_with(
            spec.breaker, failures=tuning.breaker_failures, rest_s=tuning.rest_s, rest_max_s=tuning.rest_max_s
        ),
        watermarks=_with(
            spec.watermarks,
            depth=tuning.depth_high,
            oldest_age_s=tuning.oldest_age_high_s,
            dead=tuning.dead_high,
        ),
    )


def _with(value: T, **changes: Any) -> T:  # noqa: ANN401 - whatever the fields hold
    """A frozen dataclass with those of the changes that are given."""
    given = {name: change for name, change in changes.items() if change is not None}
    return dataclasses.replace(value, **given)  # type: ignore[type-var] # T is any dataclass, which has no name in typing
