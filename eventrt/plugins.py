"""Finds plugins by their entry points, loads them when they are needed, and says plainly why one did not load.

The group `eventrt.pollers` holds pollers by the service part of their source ARNs. Finding reads the metadata of
installed distributions and imports nothing; loading imports the plugin, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import structlog

from eventrt.api import OpenPoller
from eventrt.errors import ConfigurationError

POLLERS = "eventrt.pollers"

RESERVED = frozenset(("dynamodb", "kinesis", "sqs"))
"""Services the daemon serves itself; a plugin of such a name is not used."""

_LOG = structlog.get_logger("eventrt.plugins")


@dataclass(frozen=True, slots=True)
class Found:
    """An installed plugin, not loaded yet: its entry point, and the distribution it came with."""

    entry: EntryPoint

    @property
    def origin(self) -> str:
        """Where it came from: `name version`."""
        distribution = self.entry.dist
        return "an unknown distribution" if distribution is None else f"{distribution.name} {distribution.version}"


class Plugins:
    """The plugins of this environment.

    Args: found: by service name; None looks for what is installed.
    """

    def __init__(self, found: Mapping[str, Sequence[EntryPoint]] | None = None) -> None:
        self._found = found
        self._loaded: dict[str, OpenPoller] = {}

    @property
    def services(self) -> frozenset[str]:
        """The service names that pollers are installed for."""
        return frozenset(name for name in self._entries if name not in RESERVED)

    @property
    def _entries(self) -> Mapping[str, Sequence[EntryPoint]]:
        if self._found is None:  # looked for when first needed: that takes longer than most starts may
            self._found = _installed()
        return self._found

    def poller(self, service: str) -> OpenPoller:
        """Return what opens the pollers of a service.

        Raises: ConfigurationError: none is installed, several are, or it does not load; the message says what to do.
        """
        if service not in self._loaded:
            self._loaded[service] = self._load(service)
        return self._loaded[service]

    def _load(self, service: str) -> OpenPoller:
        entries = [] if service in RESERVED else self._entries.get(service, ())
        if not entries:
            raise ConfigurationError(
                f"no poller for {service!r} is installed; install a package with an entry point {service!r} in the "
                f"group {POLLERS!r}"
            )
        found = [Found(entry) for entry in entries]
        if len({each.entry.value for each in found}) > 1:
            origins = " and ".join(sorted(each.origin for each in found))
            raise ConfigurationError(f"several pollers for {service!r} are installed: {origins}; remove all but one")
        try:
            opener: OpenPoller = found[0].entry.load()
        except Exception as error:  # a plugin's import may fail in any way; only this mapping is concerned
            raise ConfigurationError(
                f"the poller for {service!r} of {found[0].origin} does not load: {type(error).__name__}: {error}"
            ) from error
        if not callable(opener):
            raise ConfigurationError(
                f"the entry point {service!r} of {found[0].origin} names {found[0].entry.value}, which cannot be called"
            )
        _LOG.info("plugin.loaded", service=service, origin=found[0].origin)
        return opener


def _installed() -> dict[str, list[EntryPoint]]:
    by_service: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=POLLERS):
        by_service.setdefault(entry.name, []).append(entry)
    for service in sorted(RESERVED & by_service.keys()):
        _LOG.warning("plugin.ignored", service=service, reason="the daemon serves it itself")
    return by_service
