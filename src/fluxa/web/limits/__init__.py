"""How often a client may call (STATION-buckets), and from which address it calls. Not: which row has which bucket."""

from fluxa.web.limits.addresses import Addresses, networks
from fluxa.web.limits.counting import UNLIMITED, Counting
from fluxa.web.limits.limiter import Limiter
from fluxa.web.limits.rules import DEFAULTS, BucketRule, OnOutage, RateLimitedError
from fluxa.web.limits.valkey_windows import SharedWindows
from fluxa.web.limits.windows import MemoryWindows

__all__ = [
    "DEFAULTS",
    "UNLIMITED",
    "Addresses",
    "BucketRule",
    "Counting",
    "Limiter",
    "MemoryWindows",
    "OnOutage",
    "RateLimitedError",
    "SharedWindows",
    "networks",
]
