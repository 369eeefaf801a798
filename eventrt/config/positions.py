"""Where each key and value of a TOML document stands, so that a mistake can be shown at its line and column.

tomllib reads the values and refuses what is not TOML; it forgets the positions. This scanner runs after it,
over a document known to be right, and therefore only needs to know where strings, arrays and tables begin and
end.
"""

import re
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]
"""Line and column, both from 1."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^\s,\]}#]+(?: \d[^\s,\]}#]*)?")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_SIMPLE = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


class Positions:
    """The positions of a document: `keys[path]` where a key stands, `values[path]` where its value begins.

    A path holds the keys and, below arrays, the indices: `("queues", 0, "name")`. A table's position is that
    of its header.
    """

    def __init__(self, text: str) -> None:
        self.keys: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer(r"\n", text))]
        self._counts: dict[Path, int] = {}
        self._scan()

    def of_key(self, path: Path) -> Position:
        """Return where the key stands, or the nearest thing above it that has a place."""
        while path:
            if path in self.keys:
                return self.keys[path]
            path = path[:-1]
        return (1, 1)

    def of_value(self, path: Path) -> Position:
        """Return where the value begins, or where its key or the nearest thing above stands."""
        return self.values[path] if path in self.values else self.of_key(path)

    def position(self, offset: int) -> Position:
        """Turn an offset into line and column."""
        low, high = 0, len(self._starts)
        while high - low > 1:
            middle = (low + high) // 2
            if self._starts[middle] <= offset:
                low = middle
            else:
                high = middle
        return low + 1, offset - self._starts[low] + 1

    def _scan(self) -> None:
        table: Path = ()
        while True:
            self._skip(newlines=True)
            if self._at >= len(self._text):
                return
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _skip(self, *, newlines: bool) -> None:
        """Step over blanks and comments."""
        blank = " \t\r\n" if newlines else " \t"
        text = self._text
        while self._at < len(text):
            if text[self._at] in blank:
                self._at += 1
            elif text[self._at] == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                return

    def _header(self, brackets: int) -> Path:
        start = self.position(self._at)
        self._at += brackets
        names = [name for name, _ in self._key()]
        self._skip(newlines=False)
        self._at += brackets
        path: Path = (*self._resolve(names[:-1]), names[-1])
        if brackets == 2:
            index = self._counts.get(path, 0)
            self._counts[path] = index + 1
            self.keys.setdefault(path, start)
            path += (index,)
        elif self._counts.get(path):
            path += (self._counts[path] - 1,)
        self.keys[path] = start
        return path

    def _resolve(self, names: list[str]) -> Path:
        """Turn the leading names of a header into a path: below an array of tables they mean its last one."""
        path: Path = ()
        for name in names:
            path += (name,)
            if self._counts.get(path):
                path += (self._counts[path] - 1,)
        return path

    def _key(self) -> list[tuple[str, int]]:
        """Read a dotted key; return its names, each with its offset."""
        names: list[tuple[str, int]] = []
        while True:
            self._skip(newlines=False)
            start = self._at
            if self._text[start] in "\"'":
                match = _STRING.match(self._text, start)
                assert match is not None
                names.append((_unquote(match[0]), start))
            else:
                match = _BARE.match(self._text, start)
                assert match is not None
                names.append((match[0], start))
            self._at = match.end()
            self._skip(newlines=False)
            if self._at >= len(self._text) or self._text[self._at] != ".":
                return names
            self._at += 1

    def _pair(self, table: Path) -> None:
        path = table
        for name, offset in self._key():
            path += (name,)
            self.keys.setdefault(path, self.position(offset))
        self._at += 1  # the equals sign
        self._skip(newlines=False)
        self._value(path)

    def _value(self, path: Path) -> None:
        self.values[path] = self.position(self._at)
        first = self._text[self._at]
        if first in "\"'":
            match = _STRING.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
        elif first == "[":
            self._sequence(path)
        elif first == "{":
            self._inline(path)
        else:
            match = _SCALAR.match(self._text, self._at)
            assert match is not None
            self._at = match.end()

    def _sequence(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(newlines=True)
            if self._text[self._at] == "]":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._value((*path, index))
            self.keys.setdefault((*path, index), self.values[(*path, index)])
            index += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(newlines=True)
            if self._text[self._at] == "}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)


def _unquote(quoted: str) -> str:
    if quoted[0] == "'":
        return quoted[1:-1]

    def replace(match: re.Match[str]) -> str:
        if code := match[1] or match[2]:
            return chr(int(code, 16))
        return _SIMPLE.get(match[3], match[3])

    return _ESCAPE.sub(replace, quoted[1:-1])
