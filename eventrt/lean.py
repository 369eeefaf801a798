"""A quicker start: what libraries import for others and the daemon never uses is left out.

About a third of the daemon's import time would go to aiohttp's client (with its TLS contexts) and, where it happens to
be installed, to rich, which structlog looks for. Both are imported as ever by whoever asks for them later.
"""

import gc
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType
from typing import Any


@contextmanager
def starting() -> Iterator[None]:
    """Import no more than is needed, and collect no garbage, for the length of a block.

    What is alive at its end stays for good, so the collector need never look at it again.
    """
    gc.disable()
    try:
        _import_structlog()
        with _aiohttp_server_half():
            yield
    finally:
        gc.freeze()
        gc.enable()


def _import_structlog() -> None:
    """Import structlog as if rich were not there: it is for its console renderer, which we do not use."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python is told that an import fails
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


@contextmanager
def _aiohttp_server_half() -> Iterator[None]:
    """Let `import aiohttp.web_server` import just that: not the package's own `__init__`, which imports its client.

    Afterwards the package is made whole by the first one who asks it for more.
    """
    spec = importlib.util.find_spec("aiohttp")
    if "aiohttp" in sys.modules or spec is None:
        yield
        return
    package = sys.modules["aiohttp"] = importlib.util.module_from_spec(spec)
    package.__version__ = version("aiohttp")  # type: ignore[attr-defined]  # aiohttp.http asks for it
    try:
        yield
    finally:
        package.__class__ = _Unfinished


class _Unfinished(ModuleType):
    """A package whose `__init__` has still to run: it does, once something is asked that it would have made."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)
