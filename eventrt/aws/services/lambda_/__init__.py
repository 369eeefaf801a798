"""The Lambda service at the wire: functions, invocations, permissions, concurrency, tags.

Event source mappings are served beside it (`services.event_source_mappings`) under the same service id. The rules
are the registry's (`invoker.functions`); here are the wire's names and shapes.
"""

from eventrt.aws.call import Service
from eventrt.aws.services.lambda_.concurrency import ConcurrencyService
from eventrt.aws.services.lambda_.functions import FunctionService
from eventrt.aws.services.lambda_.invoke import InvokeService, Invoking
from eventrt.aws.services.lambda_.permissions import PermissionService
from eventrt.aws.services.lambda_.tags import TagService
from eventrt.invoker.packages import Packages
from eventrt.store.api import Store

__all__ = ["Invoking", "services"]


def services(store: Store, packages: Packages, invoker: Invoking) -> list[Service]:
    """Return what together serves Lambda's functions."""
    return [
        FunctionService(store, packages),
        InvokeService(store, invoker),
        PermissionService(store),
        ConcurrencyService(store),
        TagService(store),
    ]
