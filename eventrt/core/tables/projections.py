"""Projection expressions: the parts of an item that an answer shows."""

from collections.abc import Sequence
from typing import Any

from eventrt.core.tables.paths import Path, check_disjoint, follow, read_path
from eventrt.core.tables.tokens import Substitutions, TokenReader
from eventrt.core.tables.values import Item, Value


def parse_projection(text: str, substitutions: Substitutions) -> tuple[Path, ...]:
    """Parse a ProjectionExpression into its paths (raises TableError)."""
    reader = TokenReader("ProjectionExpression", text, substitutions)
    paths = [read_path(reader)]
    while reader.accept(","):
        paths.append(read_path(reader))
    reader.expect_end()
    check_disjoint(reader, paths)
    return tuple(paths)


def project(item: Item, paths: Sequence[Path]) -> dict[str, Value]:
    """Return the parts of an item at the paths, nested as in the item; list members close ranks in index order."""
    tree: dict[Any, Any] = {}
    for path in sorted(paths, key=lambda each: [(isinstance(step, str), step) for step in each]):
        found = follow(item, path)
        if found is None:
            continue
        branch = tree
        for step in path[:-1]:
            branch = branch.setdefault(step, {})
        branch[path[-1]] = _Leaf(found)
    return {str(name): _built(branch) for name, branch in tree.items()}


class _Leaf:
    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value


def _built(branch: Any) -> Value:
    if isinstance(branch, _Leaf):
        return branch.value
    if branch and all(isinstance(step, int) for step in branch):
        return {"L": [_built(branch[index]) for index in sorted(branch)]}
    return {"M": {str(name): _built(inner) for name, inner in branch.items()}}
