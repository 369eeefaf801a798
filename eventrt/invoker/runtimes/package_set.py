"""The package set that every handler sees in /var/runtime, so that `import boto3` works without bundling it.

By default it is the boto3 installed beside eventrt with what boto3 itself needs, and nothing else of that
environment. The setting `runtime.packages` names another folder: a `pip install --target`, or a venv.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from eventrt.errors import ConfigurationError

_DISTRIBUTIONS = {
    "boto3": ("boto3",),
    "botocore": ("botocore",),
    "s3transfer": ("s3transfer",),
    "jmespath": ("jmespath",),
    "python-dateutil": ("dateutil",),
    "six": ("six.py",),
    "urllib3": ("urllib3",),
}
FAMILY = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""Modules that come together: a function that bundles one of them gets none of ours that was imported beforehand."""

PRELOAD = (
    "boto3",
    "boto3.session",
    "boto3.dynamodb.conditions",
    "boto3.s3.transfer",
    "botocore.args",
    "botocore.auth",
    "botocore.client",
    "botocore.credentials",
    "botocore.endpoint",
    "botocore.handlers",
    "botocore.httpsession",
    "botocore.paginate",
    "botocore.parsers",
    "botocore.retries.standard",
    "botocore.session",
    "botocore.waiter",
    "dateutil.parser",
    "dateutil.tz",
    "urllib3",
)


@dataclass(frozen=True, slots=True)
class PackageSet:
    """What /var/runtime holds: either a whole `folder`, or the `entries` by name.

    `requires_minor` is the oldest Python 3 that its botocore runs on.
    """

    folder: str | None
    entries: dict[str, str]
    requires_minor: int = 8

    @property
    def has_boto3(self) -> bool:
        """Is there a boto3 in it?"""
        if self.folder is not None:
            return os.path.isdir(os.path.join(self.folder, "boto3"))
        return "boto3" in self.entries

    def lay_out(self, target: Path) -> str:
        """Return a folder with just this set; links in `target` are made for it where it has none of its own."""
        if self.folder is not None:
            return self.folder
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for link in target.iterdir():
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)  # a copy of the data directory that followed the links
            elif not link.is_symlink() or self.entries.get(link.name) != os.readlink(link):
                link.unlink()
        for name, path in self.entries.items():
            if not (target / name).is_symlink():
                (target / name).symlink_to(path)
        return str(target)


def find(configured: str) -> PackageSet:
    """Return the package set of the setting `runtime.packages`, "" for the boto3 installed beside eventrt.

    Raises: ConfigurationError: the setting names no folder.
    """
    if configured:
        return PackageSet(site_packages(_folder(configured)), {})
    from importlib import metadata  # takes as long to import as all of this module's users together

    entries: dict[str, str] = {}
    requires_minor = 8
    for name, parts in _DISTRIBUTIONS.items():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for part in parts:
            path = str(found.locate_file(part))
            if os.path.exists(path):
                entries[part] = os.path.realpath(path)
        folder = str(getattr(found, "_path", ""))
        if folder.endswith(".dist-info"):
            entries[os.path.basename(folder)] = os.path.realpath(folder)
        if name == "botocore" and (match := re.search(r">=\s*3\.(\d+)", found.metadata["Requires-Python"] or "")):
            requires_minor = int(match[1])
    if "boto3" not in entries:
        # botocore alone is there for its models, which the daemon reads: handlers get boto3 or nothing.
        return PackageSet(None, {})
    return PackageSet(None, entries, requires_minor)


def check(configured: str) -> None:
    """Refuse a setting `runtime.packages` that names no folder (ConfigurationError); cheap, for the start."""
    if configured:
        _folder(configured)


def _folder(configured: str) -> str:
    folder = os.path.abspath(os.path.expanduser(configured))
    if not os.path.isdir(folder):
        raise ConfigurationError(f'runtime.packages = "{configured}" is no folder')
    return folder


def site_packages(folder: str) -> str:
    """Return where the packages of a folder are: a venv's site-packages, else the folder itself."""
    if os.path.exists(os.path.join(folder, "pyvenv.cfg")):
        for found in sorted(Path(folder).glob("lib/python3.*/site-packages")):
            return str(found)
    return folder
