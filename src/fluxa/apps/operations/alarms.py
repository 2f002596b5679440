"""What the settings make of alarms. Not: the alarms themselves (fluxa.operations.alarms)."""

import msgspec

from fluxa.apps.settings import Settings
from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import RULES, Change, changed


def alarm_rules(settings: Settings) -> tuple[Rule, ...]:
    """The alarms as the settings want them.

    Raises:
        FluxaError: `Configuration` for an alarm that there is not, or values that contradict each other.
    """
    return changed(RULES, {name: Change(**msgspec.structs.asdict(one)) for name, one in settings.alarms.items()})
