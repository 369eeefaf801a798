"""Settings from a TOML file, the environment and the command line, checked, with every mistake at once.

The command line wins over the environment, the environment over the file, the file over the defaults. What
the declared things refer to (folders, interpreters, one another) is the business of `check`.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from eventrt.config.declared import (
    KINDS,
    Declared,
    DeclaredFunction,
    DeclaredMapping,
    DeclaredQueue,
    DeclaredStream,
    DeclaredTable,
)
from eventrt.config.declared_buckets import DeclaredBucket, DeclaredNotification
from eventrt.config.document import Build, Document, read_document
from eventrt.config.mistakes import Mistake, WrongConfiguration, did_you_mean
from eventrt.config.references import check_declared
from eventrt.config.settings import (
    ALIASES,
    SECTIONS,
    AuthKey,
    Settings,
    choices,
    every_setting,
    expectation,
    members,
    meta_of,
    plain_type,
)

S = TypeVar("S", bound=msgspec.Struct)

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_OTHER_VARIABLES = {"EVENTRT_CONFIG", "EVENTRT_AUTH_KEYS", "EVENTRT_INSECURE", "EVENTRT_ENDPOINT_URL"}


def load(
    file: Path | None,
    *,
    environment: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    warn: Callable[[Mistake], None] = lambda mistake: None,
) -> Settings:
    """Return the settings that file, environment and command line add up to.

    Args: overrides: values by full name (`server.port`), from the command line. warn: called with what looks wrong
        and stops nothing.
    Raises: WrongConfiguration: with every mistake found.
    """
    mistakes: list[Mistake] = []
    document = read_document(file) if file is not None else None
    built = build(document, mistakes, environment=environment, overrides=overrides or {})
    if document is not None:
        mistakes += check_declared(document, built)
    if any(not mistake.is_warning for mistake in mistakes):
        raise WrongConfiguration(mistakes)
    for mistake in mistakes:
        warn(mistake)
    return built.settings


def build(
    document: Document | None,
    mistakes: list[Mistake],
    *,
    environment: Mapping[str, str],
    overrides: Mapping[str, object],
) -> Build:
    """Return what can be made out; everything wrong is added to `mistakes`."""
    reader = _Reader(document, mistakes)
    sections = {name: reader.section(name, struct) for name, struct in SECTIONS.items()}
    functions = reader.declared("functions", DeclaredFunction)
    queues = reader.declared("queues", DeclaredQueue)
    streams = reader.declared("streams", DeclaredStream)
    tables = reader.declared("tables", DeclaredTable)
    buckets = reader.declared("buckets", DeclaredBucket)
    notifications = reader.declared("notifications", DeclaredNotification)
    mappings = reader.declared("mappings", DeclaredMapping)
    declared = Declared(
        functions=tuple(thing for _, thing in functions),
        queues=tuple(thing for _, thing in queues),
        streams=tuple(thing for _, thing in streams),
        tables=tuple(thing for _, thing in tables),
        buckets=tuple(thing for _, thing in buckets),
        notifications=tuple(thing for _, thing in notifications),
        mappings=tuple(thing for _, thing in mappings),
    )
    paths: dict[tuple[str, int], tuple[str | int, ...]] = {
        (kind, place): (kind, index)
        for kind, found in (
            ("functions", functions),
            ("queues", queues),
            ("streams", streams),
            ("tables", tables),
            ("buckets", buckets),
            ("notifications", notifications),
            ("mappings", mappings),
        )
        for place, (index, _) in enumerate(found)
    }
    reader.report_unknown_sections()
    _apply_environment(sections, environment, mistakes)
    for full_name, value in overrides.items():
        section, _, name = full_name.partition(".")
        hint = members(SECTIONS[section])[name][0]
        sections[section][name] = _convert(value, hint, f"--{name.replace('_', '-')}", mistakes)
    structs = {
        name: struct(**{k: v for k, v in sections[name].items() if v is not _WRONG})
        for name, struct in SECTIONS.items()
    }
    structs["lambda_"] = structs.pop("lambda")
    settings = Settings(
        **structs,  # type: ignore[arg-type]
        declared=declared,
        source=document.path if document else None,
    )
    if settings.auth.mode == "sigv4" and not settings.auth.keys:
        where, position = reader.place(("auth", "mode"))
        mistakes.append(
            Mistake(
                where,
                *position,
                'auth.mode is "sigv4" and there is no key',
                "add [[auth.keys]] with access_key and secret_key, or set EVENTRT_AUTH_KEYS",
            )
        )
    return Build(settings, paths, reader.wrong_members)


class _Wrong:
    """Stands for a value that was refused; its mistake is on the list."""


_WRONG = _Wrong()


class _Reader:
    """Takes a document apart against the structs."""

    def __init__(self, document: Document | None, mistakes: list[Mistake]) -> None:
        self._document = document
        self._values = document.values if document else {}
        self._mistakes = mistakes
        self.wrong_members: set[tuple[str | int, ...]] = set()

    def place(self, path: tuple[str | int, ...], *, key: bool = False) -> tuple[str, tuple[int, int]]:
        """Return the file and position of a value (or of its key)."""
        if self._document is None:
            return "configuration", (0, 0)
        positions = self._document.positions
        return str(self._document.path), (positions.of_key(path) if key else positions.of_value(path))

    def wrong(self, path: tuple[str | int, ...], message: str, hint: str = "", *, key: bool = False) -> None:
        """Put a mistake on the list."""
        where, (line, column) = self.place(path, key=key)
        self._mistakes.append(Mistake(where, line, column, message, hint))

    def section(self, name: str, struct: type[msgspec.Struct]) -> dict[str, Any]:
        """Return the checked values of one section; those that are wrong are `_WRONG`."""
        table = self._values.get(name, {})
        if not isinstance(table, dict):
            self.wrong((name,), f"{name} must be a table", f"write [{name}]")
            return {}
        return self._table(table, struct, (name,), name)

    def declared(self, kind: str, struct: type[S]) -> list[tuple[int, S]]:
        """Return the declared things of one kind, each with its index in the file.

        Of those that are not whole, the members that are wrong are in `wrong_members`.
        """
        entries = self._values.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self.wrong((kind,), f"{kind} must be a list of tables", f"write [[{kind}]] above each")
            return []
        return [(index, self._thing(entry, struct, (kind, index), kind)) for index, entry in enumerate(entries)]

    def report_unknown_sections(self) -> None:
        """Put every top-level name that is none of ours on the list."""
        known = [*SECTIONS, *KINDS]
        for name in self._values:
            if name not in known:
                self.wrong((name,), f'there is no section "{name}"', did_you_mean(name, known), key=True)

    def _thing(self, table: dict[str, Any], struct: type[S], path: tuple[str | int, ...], label: str) -> S:
        """Return a thing; what is wrong with it or missing is on the list, and something stands in for it."""
        values = self._table(table, struct, path, label)
        for name in struct.__struct_fields__:
            is_required = _is_required(struct, name)
            if is_required and name not in table:
                self.wrong(path, f"{label} needs {name}", key=True)
                values[name] = _WRONG
            if values.get(name) is _WRONG:
                self.wrong_members.add((*path, name))
                if is_required:
                    values[name] = ""
                else:
                    del values[name]
        return struct(**values)

    def _table(
        self, table: dict[str, Any], struct: type[msgspec.Struct], path: tuple[str | int, ...], label: str
    ) -> dict[str, Any]:
        known = members(struct)
        values: dict[str, Any] = {}
        for name, value in table.items():
            here = (*path, name)
            if name not in known:
                self.wrong(here, f'{label} has no setting "{name}"', did_you_mean(name, known), key=True)
                continue
            hint, _ = known[name]
            plain = plain_type(hint)
            if get_origin(plain) is tuple and get_args(plain)[0] is AuthKey:
                values[name] = self._auth_keys(value, here)
            else:
                values[name] = self._value(value, hint, here, f"{label}.{name}")
        return values

    def _auth_keys(self, value: object, path: tuple[str | int, ...]) -> object:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.wrong(path, "auth.keys must be a list of tables", "write [[auth.keys]] above each")
            return _WRONG
        return tuple(self._thing(entry, AuthKey, (*path, index), "auth.keys") for index, entry in enumerate(value))

    def _value(self, value: object, hint: Any, path: tuple[str | int, ...], label: str) -> object:
        where, (line, column) = self.place(path)
        return _convert(value, hint, where, self._mistakes, label=label, position=(line, column))


def _is_required(struct: type[msgspec.Struct], name: str) -> bool:
    field = next(f for f in msgspec.structs.fields(struct) if f.name == name)
    return field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def _convert(
    value: object,
    hint: Any,
    where: str,
    mistakes: list[Mistake],
    *,
    label: str = "",
    position: tuple[int, int] = (0, 0),
) -> object:
    """Check one value against its annotation; `_WRONG` when it does not fit, with the mistake on the list."""
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError("Expected a finite number")
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        meta = meta_of(hint)
        expected = expectation(hint, meta)
        if meta.pattern and isinstance(value, str):
            expected = f"a text that matches {meta.pattern}"
        elif meta.max_length is not None and isinstance(value, str | list) and len(value) > meta.max_length:
            expected = f"at most {meta.max_length} {'characters' if isinstance(value, str) else 'entries'} long"
        elif "$" in str(error) and isinstance(value, dict | list):
            expected += f": {error}"
        suggestion = did_you_mean(value, choices(hint)) if isinstance(value, str) else ""
        subject = f"{label} must be" if label else "must be"
        mistakes.append(Mistake(where, *position, f"{subject} {expected}, not {_show(value)}", suggestion))
        return _WRONG


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 80 else f'"{value[:77]}..."'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _apply_environment(
    sections: dict[str, dict[str, Any]], environment: Mapping[str, str], mistakes: list[Mistake]
) -> None:
    """Lay the environment's values over the file's."""
    known = {setting.variable: setting for setting in every_setting()}
    known.pop("EVENTRT_AUTH_KEYS")
    given = {ALIASES.get(name, name): (name, text) for name, text in environment.items() if name in known}
    given.update({ALIASES[name]: (name, environment[name]) for name in ALIASES if name in environment})
    for variable, (name, text) in given.items():
        setting = known[variable]
        try:
            value = _from_text(text, setting.type)
        except ValueError:
            value = text
        sections[setting.section][setting.name] = _convert(value, setting.type, name, mistakes)
    if keys := environment.get("EVENTRT_AUTH_KEYS"):
        sections["auth"]["keys"] = _auth_keys_from_text(keys, mistakes)
    for name in environment:
        if name.startswith("EVENTRT_") and name not in known and name not in ALIASES | dict.fromkeys(_OTHER_VARIABLES):
            hint = did_you_mean(name, [*known, *ALIASES, *_OTHER_VARIABLES])
            mistakes.append(Mistake(name, 0, 0, "there is no such setting", hint, is_warning=True))


def _from_text(text: str, hint: Any) -> object:
    """Turn a variable's text into the value it stands for: lists and tables are comma-separated."""
    plain = plain_type(hint)
    if plain is bool:
        word = text.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else text
    if plain is int:
        return int(text.strip())
    if plain is float:
        return float(text.strip())
    if get_origin(plain) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if get_origin(plain) is dict:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {name.strip(): value.strip() for name, _, value in pairs}
    return text


def _auth_keys_from_text(text: str, mistakes: list[Mistake]) -> object:
    keys: list[AuthKey] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, secret = part.partition("=")
        if not equals or not name or not secret:
            message = 'must be "AKID=SECRET,AKID=SECRET,..."'
            mistakes.append(Mistake("EVENTRT_AUTH_KEYS", 0, 0, message))
            return _WRONG
        keys.append(AuthKey(access_key=name, secret_key=secret))
    return tuple(keys)


def config_path(option: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the configuration file that is asked for: the option's, else EVENTRT_CONFIG's, else none."""
    chosen = option or environment.get("EVENTRT_CONFIG")
    return Path(chosen) if chosen else None
