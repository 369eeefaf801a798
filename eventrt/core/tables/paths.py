"""Document paths: `a.b[2]`, read from an expression and followed through an item."""

from collections.abc import Iterable
from typing import TypeAlias

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.tokens import TokenReader
from eventrt.core.tables.values import Item, Value

Path: TypeAlias = tuple[str | int, ...]
"""Attribute names and list indexes, outermost first; never empty, and the first is a name."""


MAXIMUM_INDEX = 2**31 - 1
"""The highest index that a path may name; AWS names no number."""


def read_path(reader: TokenReader) -> Path:
    """Read a document path at the present token (raises TableError)."""
    if reader.token.kind not in ("name", "alias"):
        raise reader.syntax_error()
    steps: list[str | int] = [reader.name(reader.advance())]
    while True:
        if reader.accept("."):
            if reader.token.kind not in ("name", "alias"):
                raise reader.syntax_error()
            steps.append(reader.name(reader.advance()))
        elif reader.accept("["):
            if reader.token.kind != "number":
                raise reader.syntax_error()
            index = int(reader.advance().text)
            if index > MAXIMUM_INDEX:
                raise reader.error(f"List index is not within the allowable range; index: [{index}]")
            steps.append(index)
            reader.expect("]")
        else:
            return tuple(steps)


def follow(item: Item, path: Path) -> Value | None:
    """Return the value at a path; None when there is none."""
    value: Value | None = item.get(path[0])  # type: ignore[arg-type]
    for step in path[1:]:
        if value is None:
            return None
        if isinstance(step, int):
            members = value.get("L")
            value = members[step] if members is not None and step < len(members) else None
        else:
            inner = value.get("M")
            value = inner.get(step) if inner is not None else None
    return value


def shown(path: Path) -> str:
    """Return a path as DynamoDB's messages show it: `[a, b, [2]]`."""
    return "[" + ", ".join(f"[{step}]" if isinstance(step, int) else step for step in path) + "]"


class _Node:
    """One step of the paths seen so far: the first path through it, and the one that ends here."""

    __slots__ = ("end", "first", "steps")

    def __init__(self, first: Path) -> None:
        self.first = first
        self.end: Path | None = None
        self.steps: dict[str | int, _Node] = {}


def check_disjoint(reader: TokenReader, paths: Iterable[Path]) -> None:
    """Refuse two paths of which one contains the other, or that use one value as a list and as a map."""
    root = _Node(())
    for path in paths:
        node = root
        for step in path:
            if node.end is not None:
                raise _clash(reader, "overlap", node.end, path)
            other = next(iter(node.steps), step)
            if isinstance(step, int) is not isinstance(other, int):
                raise _clash(reader, "conflict", node.steps[other].first, path)
            node = node.steps.setdefault(step, _Node(path))
        if node.first is not path or node.end is not None:
            raise _clash(reader, "overlap", node.first, path)
        node.end = path


def _clash(reader: TokenReader, verb: str, one: Path, two: Path) -> TableError:
    return reader.error(
        f"Two document paths {verb} with each other; must remove or rewrite one of these paths; "
        f"path one: {shown(one)}, path two: {shown(two)}"
    )
