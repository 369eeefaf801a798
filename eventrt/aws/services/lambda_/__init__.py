"""The Lambda service at the wire: functions, invocations and what becomes of events, permissions, concurrency,
tags.

Event source mappings are served beside it (`services.event_source_mappings`) under the same service id. The rules
are the registry's (`invoker.functions`); here are the wire's names and shapes.
"""

from eventrt.aws.call import Service
from eventrt.aws.services.lambda_.archives import Archives
from eventrt.aws.services.lambda_.concurrency import ConcurrencyService
from eventrt.aws.services.lambda_.event_invoke import EventInvokeService
from eventrt.aws.services.lambda_.functions import FunctionService
from eventrt.aws.services.lambda_.invoke import InvokeService, Invoking
from eventrt.aws.services.lambda_.permissions import PermissionService
from eventrt.aws.services.lambda_.recursion import RecursionService
from eventrt.aws.services.lambda_.tags import TagService
from eventrt.core.function_rules import ACCOUNT_CONCURRENCY
from eventrt.destinations.desk import Desk
from eventrt.invoker.packages import Packages
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.sources.folders import Folders
from eventrt.store.api import Store
from eventrt.store.blobs import Blobs

__all__ = ["Invoking", "services"]


def services(
    store: Store,
    packages: Packages,
    invoker: Invoking,
    *,
    blobs: Blobs,
    folders: Folders,
    desk: Desk,
    interpreters: Interpreters,
    account_concurrency: int = ACCOUNT_CONCURRENCY,
) -> list[Service]:
    """Return what together serves Lambda's functions."""
    return [
        FunctionService(
            store,
            packages,
            Archives(store, blobs, folders),
            desk=desk,
            interpreters=interpreters,
            account_concurrency=account_concurrency,
        ),
        InvokeService(store, invoker),
        PermissionService(store),
        ConcurrencyService(store, account_concurrency=account_concurrency),
        EventInvokeService(store, desk),
        RecursionService(store),
        TagService(store),
    ]
