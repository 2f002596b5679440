"""Fluxa: events in, each processed exactly once, delivered through queues that cannot lose work."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluxa.application import Fluxa
    from fluxa.kernel.errors import ErrorCode, FluxaError
    from fluxa.postgres.transaction import Transaction
    from fluxa.queue.backend import KeyRule
    from fluxa.queue.outcome import DONE, Dead, Done, Outcome, Retry, Snooze
    from fluxa.queue.policy import RetryPolicy
    from fluxa.queue.producer import Producer
    from fluxa.queue.record import Record
    from fluxa.queue.registry import QueueSpec, Watermarks
    from fluxa.queue.worker.handlers import JobInfo
    from fluxa.resilience.breaker import BreakerPolicy

__version__ = "0.1.0"

__all__ = [
    "DONE",
    "BreakerPolicy",
    "Dead",
    "Done",
    "ErrorCode",
    "Fluxa",
    "FluxaError",
    "JobInfo",
    "KeyRule",
    "Outcome",
    "Producer",
    "QueueSpec",
    "Record",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "Transaction",
    "Watermarks",
]

_HOMES = {
    "application": ("Fluxa",),
    "kernel.errors": ("ErrorCode", "FluxaError"),
    "postgres.transaction": ("Transaction",),
    "queue.backend": ("KeyRule",),
    "queue.outcome": ("DONE", "Dead", "Done", "Outcome", "Retry", "Snooze"),
    "queue.policy": ("RetryPolicy",),
    "queue.producer": ("Producer",),
    "queue.record": ("Record",),
    "queue.registry": ("QueueSpec", "Watermarks"),
    "queue.worker.handlers": ("JobInfo",),
    "resilience.breaker": ("BreakerPolicy",),
}
"""Where the names for users live; each is imported when it is asked for, so that commands start quickly."""


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"fluxa.{home}"), name)
    raise AttributeError(f"module 'fluxa' has no attribute {name!r}")
