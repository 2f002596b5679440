"""Looks at everything that the settings name, and says what is wrong and what to do (GATE-4). Changes nothing."""

from fluxa.apps.operations.doctor.examination import Finding, State, worst
from fluxa.apps.operations.doctor.rounds import rounds

__all__ = ["Finding", "State", "rounds", "worst"]
