"""Compiled modules of code that cannot be written beside it: kept from one environment to the next.

/var/task is read-only, so without this every cold start would compile the function anew. A module that came with its
own `__pycache__` is loaded from there; any other is compiled once into a folder that belongs to its code.
"""

import importlib.util
import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)


def keep(folder, roots):
    """Keep what is compiled of the modules below `roots` in `folder`."""
    below = tuple(root.rstrip("/") + "/" for root in roots if root)

    class Loader(SourceFileLoader):
        def get_code(self, fullname):
            """Return the module's code, from its own cache, from ours, or compiled."""
            path = self.get_filename(fullname)
            if os.path.exists(importlib.util.cache_from_source(path)):
                return SourceFileLoader.get_code(self, fullname)
            sys.pycache_prefix, sys.dont_write_bytecode = folder, False
            try:
                return SourceFileLoader.get_code(self, fullname)
            finally:
                sys.pycache_prefix, sys.dont_write_bytecode = None, True

    details = (
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (Loader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )

    def hook(path):
        if not (path + "/").startswith(below) or not os.path.isdir(path):
            raise ImportError("not a folder of the function's", path=path)
        return FileFinder(path, *details)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
