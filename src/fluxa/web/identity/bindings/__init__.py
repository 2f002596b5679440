"""Role bindings: which roles may call a route, changed while processes run (SEC-2). Not: the check itself (access)."""

from fluxa.web.identity.bindings.rules import BIND, LIST, UNBIND, RoleBinding, RouteTable, RouteView
from fluxa.web.identity.bindings.store import Bindings
from fluxa.web.identity.bindings.watch import BindingWatch

__all__ = ["BIND", "LIST", "UNBIND", "BindingWatch", "Bindings", "RoleBinding", "RouteTable", "RouteView"]
