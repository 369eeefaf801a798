"""Everything that is wrong with a file, for `eventrt check`: shape, ranges, references, interpreters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eventrt.config.document import read_document
from eventrt.config.load import build
from eventrt.config.mistakes import Mistake, WrongConfiguration
from eventrt.config.references import check_declared
from eventrt.config.settings import Settings

FindInterpreter = Callable[[str, Settings], tuple[str, bool]]
"""Given a Runtime: what it would run on, in words, and whether that is what was asked for."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `is_readable` is False when the file could not be read as TOML at all."""

    mistakes: list[Mistake]
    is_readable: bool
    summary: str = ""


def check(file: Path, *, environment: Mapping[str, str], find_interpreter: FindInterpreter | None = None) -> Checked:
    """Return all that is wrong with a configuration file, in order of place."""
    try:
        document = read_document(file)
    except WrongConfiguration as error:
        return Checked(error.mistakes, is_readable=False)
    mistakes: list[Mistake] = []
    built = build(document, mistakes, environment=environment, overrides={})
    mistakes += check_declared(document, built)
    declared = built.settings.declared
    for place, function in enumerate(declared.functions):
        if find_interpreter is None:
            break
        found, is_exact = find_interpreter(function.runtime, built.settings)
        if not is_exact:
            line, column = document.positions.of_value((*built.paths["functions", place], "runtime"))
            strict = built.settings.runtime.strict
            mistakes.append(
                Mistake(
                    str(file),
                    line,
                    column,
                    f"there is no interpreter for {function.runtime} on this machine",
                    "runtime.strict refuses the function" if strict else f"it would run on {found}",
                    is_warning=not strict,
                )
            )
    counts = f"{len(declared.functions)} functions, {len(declared.queues)} queues, {len(declared.mappings)} mappings"
    return Checked(sorted(mistakes), is_readable=True, summary=counts)
