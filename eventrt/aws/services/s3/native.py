"""The native library for checksums, where one is installed: `awscrt`, from the extra `fast`.

Without it CRC-32C and CRC-64/NVME are computed by `core.checksums`, some 60 to 90 MB per second.
"""

import importlib
from functools import cache
from typing import cast

from eventrt.core.checksums import Algorithm, Update
from eventrt.core.checksums import algorithms as pure


@cache
def algorithms() -> dict[str, Algorithm]:
    """Return every checksum algorithm by its name (`CRC32`, `SHA256`, ...)."""
    try:
        library = importlib.import_module("awscrt.checksums")
        native = {name: cast(Update, getattr(library, name.lower())) for name in ("CRC32", "CRC32C", "CRC64NVME")}
    except (ImportError, AttributeError):
        native = {}
    return pure(native)
