"""Everything that is wrong with a file, for `eventrt check`: shape, ranges, references, interpreters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eventrt.config.declared import KINDS
from eventrt.config.document import read_document
from eventrt.config.load import build
from eventrt.config.mistakes import Mistake, WrongConfiguration
from eventrt.config.references import check_declared
from eventrt.config.settings import Settings
from eventrt.core.function_rules import SERVED_RUNTIMES

FindInterpreter = Callable[[str, Settings], tuple[str | None, bool]]
"""Given a Runtime: what it would run on, in words (None: nothing), and whether that is what was asked for."""


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
        if find_interpreter is None or function.runtime not in SERVED_RUNTIMES:
            continue
        if (*built.paths["functions", place], "runtime") in built.wrong:
            continue
        found, is_exact = find_interpreter(function.runtime, built.settings)
        if not is_exact:
            line, column = document.positions.of_value((*built.paths["functions", place], "runtime"))
            is_refused = built.settings.runtime.strict or found is None
            hint = f"it would run on {found}"
            if is_refused:
                hint = f'install it, or set runtime.interpreters."{function.runtime}" to the path of one'
            mistakes.append(
                Mistake(
                    str(file),
                    line,
                    column,
                    f"there is no interpreter for {function.runtime} on this machine",
                    hint,
                    is_warning=not is_refused,
                )
            )
    numbers = {kind: len(getattr(declared, kind)) for kind in KINDS}
    counts = [f"{count} {kind if count > 1 else kind[:-1]}" for kind, count in numbers.items() if count]
    summary = ", ".join(counts) or "nothing is declared"
    return Checked(sorted(mistakes), is_readable=True, summary=summary)
