"""Safe cron (QUEUE-14): schedules in one table, each due time run once across machines, with a history."""

from fluxa.operations.cron.rules import Missed
from fluxa.operations.cron.schedule import Schedule

__all__ = ["Missed", "Schedule"]
