"""A quicker start: what libraries import for others and the daemon never uses is left out.

Where it happens to be installed, rich would take a good part of the daemon's import time: structlog looks for it. It is
imported as ever by whoever asks for it later.
"""

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """Import no more than is needed, and collect no garbage, for the length of a block.

    What is alive at its end stays for good, so the collector need never look at it again.
    """
    gc.disable()
    try:
        _import_structlog()
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
