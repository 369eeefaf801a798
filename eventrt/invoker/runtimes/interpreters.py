"""Finding the interpreter that a `Runtime` names: configured, on PATH, in pyenv's or uv's folder; else the nearest.

A candidate counts only after it ran and said its version: pyenv's shims and broken links stand on many a PATH. A
virtual environment's interpreter is followed to the one it was made from, so its packages are never seen.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from eventrt.core.refused import Refused
from eventrt.errors import EventrtError

OLDEST, NEWEST = 8, 14
"""The minor versions of Python 3 that handlers can run on."""

PROBE_TIMEOUT_S = 10.0
_PROBE = (
    "import os, sys;"
    "print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable));"
    "print(sys.base_prefix); print(*sys.version_info[:3])"
)
_RUNTIME = re.compile(r"python3\.(\d{1,2})")


class NoInterpreter(EventrtError):  # noqa: N818 - a state of the machine
    """No interpreter on this machine may run the function; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One interpreter: its real path, its version, its installation's folder.

    `exact` is False when it stands in for another version than the Runtime names.
    """

    path: str
    version: tuple[int, int, int]
    prefix: str
    exact: bool = True

    @property
    def name(self) -> str:
        """`python3.12`."""
        return f"python{self.version[0]}.{self.version[1]}"


class Interpreters:
    """The interpreters of this machine, each asked once.

    Args:
        configured: Runtime -> path, the setting `runtime.interpreters`.
        strict: refuse what is not there, instead of taking the nearest (`runtime.strict`).
        environment: where PATH, PYENV_ROOT, UV_PYTHON_INSTALL_DIR and HOME are read.
    """

    def __init__(
        self,
        configured: Mapping[str, str] | None = None,
        *,
        strict: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._configured = dict(configured or {})
        self._strict = strict
        self._environment = os.environ if environment is None else environment
        self._probed: dict[tuple[str, int, int], Interpreter | None] = {}
        self._resolved: dict[str, Interpreter] = {}

    def resolve(self, runtime: str) -> Interpreter:
        """Return the interpreter for a Runtime such as `python3.12`. The first time it runs candidates: blocking.

        Raises: NoInterpreter: there is none, or none of that version and `runtime.strict` is set, or the configured
            one does not work.
        """
        known = self._resolved.get(runtime)
        if known is not None and os.path.exists(known.path):
            return known
        found = self._resolved[runtime] = self._resolve(runtime)
        return found

    def known(self, runtime: str) -> Interpreter | None:
        """Return what `resolve` has already found, without running anything."""
        return self._resolved.get(runtime)

    def remark(self, runtime: str) -> str | None:
        """Say in a sentence that another interpreter stands in for a Runtime; None when the right one is there.

        For a function's state reason and for `eventrt check`. Blocking at first, and raises, as `resolve`.
        """
        found = self.resolve(runtime)
        if found.exact:
            return None
        version = ".".join(map(str, found.version))
        return (
            f"There is no {runtime} on this machine; Python {version} ({found.path}) runs the function. "
            f'Install {runtime}, or set runtime.interpreters."{runtime}".'
        )

    async def check(self, runtime: str) -> str | None:
        """Return the remark on a Runtime (see `remark`); where none can run it, say that, unless it is refused.

        Raises: Refused: there is no interpreter for it, and `runtime.strict` is set.
        """
        try:
            if self.known(runtime) is not None:
                return self.remark(runtime)
            return await anyio.to_thread.run_sync(self.remark, runtime)
        except NoInterpreter as error:
            if self._strict:
                raise Refused("InvalidParameterValueException", f"The runtime {runtime} is refused: {error}") from error
            return str(error)

    def _resolve(self, runtime: str) -> Interpreter:
        match = _RUNTIME.fullmatch(runtime)
        if match is None:
            raise NoInterpreter(f"{runtime} is no Python runtime; python3.{OLDEST} to python3.{NEWEST} are served")
        if runtime in self._configured:
            return self._configured_one(runtime)
        wanted = int(match[1])
        for minor in sorted(range(OLDEST, NEWEST + 1), key=lambda minor: (abs(minor - wanted), -minor)):
            if minor != wanted and self._strict:
                break
            for path in self._candidates(minor):
                found = self.probe(path)
                if found is not None and found.version[1] == minor:
                    exact = minor == wanted
                    return Interpreter(found.path, found.version, found.prefix, exact)
        advice = f'install Python 3.{wanted}, or set runtime.interpreters."{runtime}" to the path of one'
        if self._strict:
            raise NoInterpreter(f"there is no {runtime} on this machine and runtime.strict is set: {advice}")
        raise NoInterpreter(f"there is no Python from 3.{OLDEST} to 3.{NEWEST} on this machine: {advice}")

    def _configured_one(self, runtime: str) -> Interpreter:
        path = os.path.expanduser(self._configured[runtime])
        found = self.probe(path)
        if found is None:
            raise NoInterpreter(f'runtime.interpreters."{runtime}" = "{path}" is no Python that runs')
        if not OLDEST <= found.version[1] <= NEWEST:
            raise NoInterpreter(
                f'runtime.interpreters."{runtime}" = "{path}" is Python {found.version[0]}.{found.version[1]}; '
                f"3.{OLDEST} to 3.{NEWEST} can run handlers"
            )
        exact = found.name == runtime
        if not exact and self._strict:
            raise NoInterpreter(
                f'runtime.interpreters."{runtime}" = "{path}" is {found.name}, and runtime.strict is set'
            )
        return Interpreter(found.path, found.version, found.prefix, exact)

    def _candidates(self, minor: int) -> Iterator[str]:
        """Yield paths that may be Python 3.`minor`, the likeliest first."""
        name = f"python3.{minor}"
        shims: list[str] = []
        if sys.version_info[1] == minor:
            yield os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        for folder in self._environment.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, name)
            if folder and os.access(path, os.X_OK):
                if os.path.basename(os.path.normpath(folder)) == "shims":
                    shims.append(path)
                else:
                    yield path
        home = Path(self._environment.get("HOME", "/nonexistent"))
        pyenv = Path(self._environment.get("PYENV_ROOT") or home / ".pyenv")
        data = Path(self._environment.get("XDG_DATA_HOME") or home / ".local/share")
        uv = Path(self._environment.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
        for folder_path, pattern in ((pyenv / "versions", f"3.{minor}.*"), (uv, f"cpython-3.{minor}.*")):
            for version in sorted(folder_path.glob(pattern), key=_patch_number, reverse=True):
                yield str(version / "bin" / name)
        yield from shims

    def probe(self, path: str) -> Interpreter | None:
        """Run an interpreter once and return what it says of itself; None when it does not run."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        key = (path, found.st_mtime_ns, found.st_size)
        if key not in self._probed:
            self._probed[key] = _probe(path)
        return self._probed[key]


def _probe(path: str) -> Interpreter | None:
    try:
        answer = subprocess.run(  # noqa: S603 - the path is the operator's own
            [path, "-I", "-S", "-B", "-c", _PROBE],
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
            text=True,
        ).stdout.splitlines()
        executable, prefix, version = answer
        major, minor, micro = (int(part) for part in version.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(executable, (major, minor, micro), prefix) if major == 3 else None


def _patch_number(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", path.name)[:4])
