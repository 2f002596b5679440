"""Alarms (ALARM-1 to ALARM-5): when somebody must look, why it may be so, what to do first, and who is told."""

from fluxa.operations.alarms.evaluate import Notice, Phase, Standing
from fluxa.operations.alarms.rule import Comparison, Measure, Reading, Rule, Severity

__all__ = ["Comparison", "Measure", "Notice", "Phase", "Reading", "Rule", "Severity", "Standing"]
