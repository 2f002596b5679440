"""Role bindings: which roles may call a route, changed while processes run (SEC-2). Not: the check itself (access)."""

from fluxa.web.identity.bindings.grants import check_role, gives_all
from fluxa.web.identity.bindings.rules import BIND, LIST, UNBIND, NewlyBound, RoleBinding, RouteTable, RouteView
from fluxa.web.identity.bindings.store import Bindings
from fluxa.web.identity.bindings.watch import BindingWatch

__all__ = [
    "BIND",
    "LIST",
    "UNBIND",
    "BindingWatch",
    "Bindings",
    "NewlyBound",
    "RoleBinding",
    "RouteTable",
    "RouteView",
    "check_role",
    "gives_all",
]
