"""A mistake in a configuration: where it is, what is wrong, and what was probably meant."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from eventrt.errors import ConfigurationError


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong.

    `where` is the file, or the environment variable or option. `line` and `column` count from 1; 0 where
    there is no text to point at. `hint` says what to write instead. A warning is told, and stops nothing.
    """

    where: str
    line: int
    column: int
    message: str
    hint: str = ""
    is_warning: bool = False

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}:{self.column}" if self.line else self.where
        kind = "warning: " if self.is_warning else ""
        return f"{place}: {kind}{self.message}" + (f" ({self.hint})" if self.hint else "")


class WrongConfiguration(ConfigurationError):  # noqa: N818 - what it is, in the words of the one who reads it
    """The configuration cannot be used; `mistakes` holds all that is wrong with it, in order of place."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean "port"?`, or "" when nothing known comes near."""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f'did you mean "{by_folded[close[0]]}"?' if close else ""
