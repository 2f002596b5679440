"""Pure state machines that keep a fault where it is: values and the time in, a decision out."""

from fluxa.resilience.breaker import Breaker, BreakerPolicy, BreakerState
from fluxa.resilience.budget import Budget, BudgetPolicy
from fluxa.resilience.guard import Guard, GuardPolicy, Obstacle, Permit, Refused
from fluxa.resilience.limiter import Limiter, PacePolicy

__all__ = [
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "Budget",
    "BudgetPolicy",
    "Guard",
    "GuardPolicy",
    "Limiter",
    "Obstacle",
    "PacePolicy",
    "Permit",
    "Refused",
]
