"""A configuration file as it was read: its values, where they stand, and what was made out of it."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventrt.config.mistakes import Mistake, WrongConfiguration
from eventrt.config.positions import Positions
from eventrt.config.settings import Settings

_SYNTAX = re.compile(r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Build:
    """What could be made out of the sources, and where each declared thing stands in the file.

    `paths` leads from the place of a thing in `settings.declared` (`("queues", 0)`) to its place in the document.
    `wrong` are the members of things that are missing or were refused: a default stands in for them, or an empty text,
    so that the rest of the thing can be looked at too.
    """

    settings: Settings
    paths: Mapping[tuple[str, int], tuple[str | int, ...]]
    wrong: Collection[tuple[str | int, ...]] = ()


@dataclass(slots=True)
class Document:
    """A configuration file that has been read: its values, and where they stand."""

    path: Path
    values: dict[str, Any]
    positions: Positions


def read_document(file: Path) -> Document:
    """Read a TOML file.

    Raises: WrongConfiguration: it cannot be read, or is not TOML.
    """
    try:
        text = file.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise WrongConfiguration([Mistake(str(file), 0, 0, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        column = error.start - (error.object.rfind(b"\n", 0, error.start) + 1) + 1
        raise WrongConfiguration([Mistake(str(file), line, column, "is not UTF-8 text")]) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongConfiguration([_syntax_mistake(file, text, str(error))]) from error
    except RecursionError as error:
        raise WrongConfiguration([Mistake(str(file), 0, 0, "nests too deeply to be read")]) from error
    except ValueError as error:  # a number of more digits than Python takes, or a date there is not
        raise WrongConfiguration([Mistake(str(file), 0, 0, f"holds a value that cannot be read: {error}")]) from error
    return Document(file, values, Positions(text))


def _syntax_mistake(file: Path, text: str, error: str) -> Mistake:
    match = _SYNTAX.match(error)
    if match is None:
        return Mistake(str(file), 1, 1, f"is not TOML: {error}")
    if match["line"]:
        line, column = int(match["line"]), int(match["column"])
    else:
        line, column = text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
    return Mistake(str(file), line, column, f"is not TOML: {match['what']}")
