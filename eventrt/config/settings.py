"""Every setting, its type, range, unit, default and meaning: the one place that lists them.

A section is a struct, a setting one annotated member of it. The file reader, the environment variables,
`eventrt check`, `config/eventrt.toml` and the docs' table all follow from what stands here. Declared
functions, queues and mappings are in `declared`; reading and merging is `load`.
"""

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from eventrt.config.declared import Declared


class AuthKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key that `auth.mode = "sigv4"` accepts."""

    access_key: Annotated[str, Meta(min_length=1)]
    secret_key: Annotated[str, Meta(min_length=1)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The one port."""

    host: Annotated[
        str,
        Meta(description='The address to listen on. Another than loopback needs auth.mode = "sigv4", or --insecure.'),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port to listen on; 0 takes a free one and logs it.")] = (
        4566
    )
    idle_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="How long a connection may stand idle between requests, and how long the head of a request "
            "may take.",
            extra={"unit": "seconds"},
        ),
    ] = 60.0
    stall_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="How long a client may be silent in the middle of a request's body, or not read its answer.",
            extra={"unit": "seconds"},
        ),
    ] = 20.0
    min_body_rate: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="How fast the body of a request must come on the whole, once it has taken stall_timeout_s; 0 "
            "lets it trickle.",
            extra={"unit": "bytes per second"},
        ),
    ] = 16_384
    max_connections: Annotated[
        int,
        Meta(ge=1, le=100_000, description="How many connections may be open; further ones are answered 503."),
    ] = 2000
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Further names that a Host header may carry, beside loopback's, the bound address, the "
            "machine's own name when it listens everywhere, and AWS's. A name that begins with a dot stands for "
            "every name below it."
        ),
    ] = ()


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is kept, and how hard."""

    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="The directory that holds everything; made when missing. Relative to the working directory.",
        ),
    ] = ".eventrt"
    durability: Annotated[
        Literal["power", "process"],
        Meta(
            description='What an answered write survives: "power" a power cut (each group of writes is synced to '
            'the disk before the answers leave), "process" a kill -9 of the daemon. A power cut may then lose the '
            "last moments, which the kernel had not written yet, but in order: nothing stays that came after "
            "something lost. An object of more than 64 KiB may stay without its bytes; reading it fails."
        ),
    ] = "power"


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call."""

    mode: Annotated[
        Literal["none", "sigv4"],
        Meta(
            description='"none" takes any credentials, on loopback only; "sigv4" verifies every signature '
            "against the "
            "keys of [[auth.keys]] or EVENTRT_AUTH_KEYS."
        ),
    ] = "none"
    keys: Annotated[
        tuple[AuthKey, ...],
        Meta(description="The keys that sigv4 accepts: access_key and secret_key of each."),
    ] = ()


class ClockSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The clock."""

    controllable: Annotated[
        bool,
        Meta(description="Let POST /_eventrt/clock move the clock; the same as --test-clock. For tests and demos."),
    ] = False


class RuntimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The processes that handlers run in."""

    strict: Annotated[
        bool,
        Meta(
            description="Refuse a function whose Runtime names an interpreter that is not on this machine, "
            "instead of "
            "running it on the nearest one."
        ),
    ] = False
    interpreters: Annotated[
        dict[str, str],
        Meta(
            description="Which interpreter serves a Runtime, where the one to be found on PATH, in pyenv or "
            "uv is not "
            "the right one."
        ),
    ] = {}
    packages: Annotated[
        str,
        Meta(
            description="The package set every handler sees, so that `import boto3` works without bundling "
            "it: a "
            "folder (a `pip install --target`, or a venv). Empty takes the boto3 installed beside eventrt, "
            "and "
            "nothing else of it."
        ),
    ] = ""
    isolation: Annotated[
        Literal["auto", "namespaces", "none"],
        Meta(
            description='How far a handler is shut in: "namespaces" gives it a file system and process ids of its '
            'own and insists on it, "auto" does so where the machine permits it, "none" does not.'
        ),
    ] = "auto"
    idle_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="How long a warm environment waits for its next invocation before it is retired.",
            extra={"unit": "seconds"},
        ),
    ] = 300.0
    stop_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long running invocations may take to finish when the daemon is told to stop.",
            extra={"unit": "seconds"},
        ),
    ] = 10.0


class LambdaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of an account, and the pace of its retries."""

    account_concurrency: Annotated[
        int,
        Meta(
            ge=100,
            le=1_000_000,
            description="How many invocations of one account and region may run at a time; 100 of them "
            "always stay "
            "unreserved, as on AWS.",
        ),
    ] = 1000
    max_environments: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="How many handler processes may exist on this machine at a time, over all "
            "functions; further "
            "invocations wait for one.",
        ),
    ] = 100
    async_retry_base_s: Annotated[
        float,
        Meta(
            ge=0.001,
            le=21_600,
            description="How long an asynchronous event waits before its first retry after an error of the "
            "function; before the second it waits twice as long. On AWS it is 60.",
            extra={"unit": "seconds"},
        ),
    ] = 60.0


class SqsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where AWS is slower than a test wants to be."""

    recreation_wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="How long the name of a deleted queue stays taken: 60 as on AWS, 0 not at all.",
            extra={"unit": "seconds"},
        ),
    ] = 0.0


class KinesisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where AWS is slower than a test wants to be."""

    transition_s: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="How long a stream stays CREATING, UPDATING or DELETING, on the daemon's clock; 0 is through "
            "before the answer leaves.",
            extra={"unit": "seconds"},
        ),
    ] = 0.0


class LimitsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which of AWS's quotas hold here."""

    kinesis: Annotated[
        Literal["aws", "off"],
        Meta(
            description='"aws" lets a shard take 1,000 records and 1 MiB and give 5 reads and 2 MiB per second, and an '
            'account have and change what AWS allows by default; "off" lets through what the machine can do.'
        ),
    ] = "off"


class S3Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where AWS does less than it could."""

    coalesce: Annotated[
        bool,
        Meta(
            description="Raise one event for two writes to a key without versions within a second, as may happen "
            "on AWS; off, every write raises its own."
        ),
    ] = False


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon says, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least level that is written.")
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description='One line per event: "json", "text", or "auto": text on a terminal, else json.'),
    ] = "auto"
    function_bytes: Annotated[
        int,
        Meta(
            ge=65_536,
            description="How much of one function's output is kept; the oldest goes first.",
            extra={"unit": "bytes"},
        ),
    ] = 16 * 1024 * 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, checked. `base` is the folder that declared paths are relative to."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    auth: AuthSettings = AuthSettings()
    clock: ClockSettings = ClockSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    lambda_: LambdaSettings = msgspec.field(default=LambdaSettings(), name="lambda")
    sqs: SqsSettings = SqsSettings()
    kinesis: KinesisSettings = KinesisSettings()
    limits: LimitsSettings = LimitsSettings()
    s3: S3Settings = S3Settings()
    log: LogSettings = LogSettings()
    declared: Declared = Declared()
    source: Path | None = None
    """The file it came from, None without one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the reader and the docs need it: its full name is `section.name`."""

    section: str
    name: str
    type: Any
    meta: Meta
    default: Any

    @property
    def full_name(self) -> str:
        """`section.name`, as messages and docs call it."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"EVENTRT_{self.section}_{self.name}".upper()

    @property
    def unit(self) -> str:
        """What a number counts, "" where it needs no unit."""
        return str((self.meta.extra or {}).get("unit", ""))

    @property
    def expects(self) -> str:
        """What a value must be, in words."""
        return expectation(self.type, self.meta)


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "server": ServerSettings,
    "store": StoreSettings,
    "auth": AuthSettings,
    "clock": ClockSettings,
    "runtime": RuntimeSettings,
    "lambda": LambdaSettings,
    "sqs": SqsSettings,
    "kinesis": KinesisSettings,
    "limits": LimitsSettings,
    "s3": S3Settings,
    "log": LogSettings,
}

ALIASES: dict[str, str] = {
    "EVENTRT_HOST": "EVENTRT_SERVER_HOST",
    "EVENTRT_PORT": "EVENTRT_SERVER_PORT",
    "EVENTRT_DATA_DIR": "EVENTRT_STORE_DATA_DIR",
}
"""Short names of the variables that people set most; the short one wins over the long one."""


def members(struct: type[msgspec.Struct]) -> dict[str, tuple[Any, Meta]]:
    """Return the members of a struct by name, each with its type (annotation included) and its Meta."""
    found: dict[str, tuple[Any, Meta]] = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        found[name] = (hint, meta_of(hint))
    return found


def meta_of(hint: Any) -> Meta:
    """Return what an annotation says besides the type, also of `Annotated[...] | None`."""
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    return next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Meta)), Meta())


def every_setting() -> list[Setting]:
    """Return every setting, in the order of the sections."""
    return [
        Setting(section, name, hint, meta, getattr(struct(), name))
        for section, struct in SECTIONS.items()
        for name, (hint, meta) in members(struct).items()
    ]


def plain_type(hint: Any) -> Any:
    """Return the type below Annotated and Optional."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        hint = plain_type(next(part for part in get_args(hint) if part is not types.NoneType))
    return hint


def choices(hint: Any) -> tuple[str, ...]:
    """Return the words a value may be, () where it is free."""
    plain = plain_type(hint)
    return get_args(plain) if get_origin(plain) is Literal else ()


def expectation(hint: Any, meta: Meta) -> str:
    """Say in words what a value must be: `an integer from 0 to 65535`."""
    plain = plain_type(hint)
    if words := choices(hint):
        return "one of " + ", ".join(f'"{word}"' for word in words)
    if plain is bool:
        return "true or false"
    if plain in (int, float):
        noun = "an integer" if plain is int else "a number"
        low = meta.ge if meta.ge is not None else meta.gt
        if low is not None and meta.le is not None:
            span = "from" if meta.gt is None else "above"
            return f"{noun} {span} {low}{', up' if meta.gt is not None else ''} to {meta.le}"
        if low is not None:
            return f"{noun} {'above' if meta.ge is None else 'of at least'} {low}"
        return noun
    if plain is str:
        return "a text that is not empty" if meta.min_length else "a text"
    origin = get_origin(plain)
    if origin is dict:
        return "a table of texts"
    if origin in (list, tuple):
        inner = plain_type(get_args(plain)[0])
        return "a list of texts" if inner is str else "a list of tables"
    return "a table"
