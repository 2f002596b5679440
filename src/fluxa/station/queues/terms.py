"""On what terms operators see and run queues, which carry the work of all tenants."""

from fluxa.auth.roles import OPERATORS, WATCHERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.web.routes import Bucket, Terms

SEE = Terms(Bucket.OPERATION, WATCHERS, platform=True, scope=KeyScope.QUEUES_READ)
RUN = Terms(Bucket.OPERATION, OPERATORS, platform=True, scope=KeyScope.QUEUES_WRITE)
