"""The settings of a process: what there is (fields), where values come from (sources), how they are shown (text)."""

from fluxa.apps.settings.fields import FIELDS, NAMES, Settings, is_secret, listed
from fluxa.apps.settings.managed import FROM_MANAGER, read_managed
from fluxa.apps.settings.secret_files import read_secrets
from fluxa.apps.settings.sources import FILE_NAME, FILE_VARIABLE, PREFIX, Effective, environment_of, load, with_secrets

__all__ = [
    "FIELDS",
    "FILE_NAME",
    "FILE_VARIABLE",
    "FROM_MANAGER",
    "NAMES",
    "PREFIX",
    "Effective",
    "Settings",
    "environment_of",
    "is_secret",
    "listed",
    "load",
    "read_managed",
    "read_secrets",
    "with_secrets",
]
