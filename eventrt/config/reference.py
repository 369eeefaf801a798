"""The settings as texts for people: `config/eventrt.toml` and the tables of `docs/configuration.md`.

Both files are held to these texts by a test; `python -m eventrt.config.reference` writes them anew.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from eventrt.config.declared import KINDS
from eventrt.config.settings import ALIASES, SECTIONS, every_setting, expectation, members

_WIDTH = 100
_TOML_HEAD = """\
# Every setting of eventrt, with its unit and its default. A file holds only what differs:
#
#     eventrt check eventrt.toml      says what is wrong, with line and column
#     eventrt serve --config eventrt.toml
#
# Each setting is also an environment variable, EVENTRT_<SECTION>_<NAME>. The command line wins over the
# environment, the environment over this file. What can be declared ([[queues]], [[functions]], [[mappings]] and
# others) is shown at the end.
"""
_EXAMPLES = {
    ("auth", "keys"): '# [[auth.keys]]\n# access_key = "AKIAEXAMPLE"\n# secret_key = "wJalrXUtnFEMI"\n',
    ("runtime", "interpreters"): '# interpreters = { "python3.12" = "/opt/python3.12/bin/python3" }\n',
}
"""What stands for a setting whose default, empty, would show nothing of its form."""
_SHOWN = {
    "functions": {"name": "resize", "handler": "app.handler", "code": "functions/resize"},
    "queues": {"name": "uploads"},
    "streams": {"name": "clicks"},
    "tables": {"name": "totals", "partition_key": "id"},
    "buckets": {"name": "photos"},
    "notifications": {"bucket": "photos", "function": "resize"},
    "mappings": {"queue": "uploads", "function": "resize"},
}


def toml() -> str:
    """Return `config/eventrt.toml`."""
    parts = [_TOML_HEAD]
    for section, struct in SECTIONS.items():
        parts.append(f"\n# {struct.__doc__}\n[{section}]\n")
        for setting in every_setting():
            if setting.section == section:
                parts.append(_comment(f"{setting.meta.description} {_must(setting.type, setting.meta)}"))
                line = f"{setting.name} = {_toml_value(setting.default)}\n"
                parts.append(_EXAMPLES.get((section, setting.name), line))
    for kind, declared in KINDS.items():
        parts.append(f"\n# {declared.__doc__}\n# [[{kind}]]\n")
        for name, (hint, meta) in members(declared).items():
            default = _default(declared, name)
            shown = _SHOWN[kind].get(name, default)
            line = f"# {name} = {_toml_value(shown)}" if shown is not None else f"# {name} = ..."
            unit = f", {unit_}" if (unit_ := (meta.extra or {}).get("unit")) else ""
            note = " (required)" if default is msgspec.NODEFAULT else ""
            parts.append(f"{line}  # {meta.description} {expectation(hint, meta)}{unit}{note}\n")
    return "".join(parts)


def markdown() -> str:
    """Return `docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "`eventrt serve --config FILE` reads TOML; without a file it starts empty. Each setting is also an",
        "environment variable, `EVENTRT_<SECTION>_<NAME>` (lists and tables are comma-separated:",
        "`a,b`, `name=value,name=value`). The command line wins over the environment, the environment over the",
        "file, the file over the defaults. `eventrt check FILE` says everything that is wrong with a file.",
        "",
        "Short names: " + ", ".join(f"`{short}` is `{name}`" for short, name in ALIASES.items()) + ".",
        "`EVENTRT_CONFIG` names the file, `EVENTRT_AUTH_KEYS` holds keys as `AKID=SECRET,AKID=SECRET`,",
        "`EVENTRT_INSECURE=1` is `--insecure`.",
        "",
        "This page is written from `eventrt/config/settings.py` and `declared.py`; a test holds it to them.",
    ]
    for section, struct in SECTIONS.items():
        lines += ["", f"## [{section}]", "", str(struct.__doc__), ""]
        lines += ["| setting | default | what it is |", "|---|---|---|"]
        lines += [
            f"| `{s.name}` | `{_toml_value(s.default)}` | {s.meta.description} {_must(s.type, s.meta)} |"
            for s in every_setting()
            if s.section == section
        ]
    for kind, declared in KINDS.items():
        lines += ["", f"## [[{kind}]]", "", str(declared.__doc__), ""]
        lines += ["| name | default | what it is |", "|---|---|---|"]
        lines += list(_declared_rows(declared))
    return "\n".join(lines) + "\n"


def _declared_rows(declared: type[msgspec.Struct]) -> Iterator[str]:
    for name, (hint, meta) in members(declared).items():
        default = _default(declared, name)
        shown = "required" if default is msgspec.NODEFAULT else "" if default is None else f"`{_toml_value(default)}`"
        yield f"| `{name}` | {shown} | {meta.description} {_must(hint, meta)} |"


def _must(hint: Any, meta: msgspec.Meta) -> str:
    """Say type, range and unit: `A number from 0 to 900 (seconds).`"""
    unit = (meta.extra or {}).get("unit")
    words = expectation(hint, meta) + (f" ({unit})" if unit else "")
    return words[0].upper() + words[1:] + "."


def _default(struct: type[msgspec.Struct], name: str) -> Any:
    field = next(f for f in msgspec.structs.fields(struct) if f.name == name)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH))


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{}" if not value else "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return orjson.dumps(value).decode()


def write(root: Path) -> None:
    """Write both files below the project's root."""
    (root / "config" / "eventrt.toml").write_text(toml(), "utf-8")
    (root / "docs" / "configuration.md").write_text(markdown(), "utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2])
