"""The signal that alarms give. Not: those of everybody (signals)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlarmTold:
    """People are told of an alarm; the message is in its queue.

    Attributes:
        alarm: which.
        subject: of which queue, service or schedule; empty where there is one only.
        notice: firing, repeated, resolved, unknown or known.
        severity: critical or warning.
        value: what was found; None if it is not known.
        runbook: the id of the runbook.
        detail: more of it.
    """

    alarm: str
    subject: str
    notice: str
    severity: str
    value: float | None
    runbook: str
    detail: str
