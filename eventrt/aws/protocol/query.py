"""Query strings and forms: split, decoded, and folded into the tree their dotted names describe."""

from typing import Any
from urllib.parse import unquote_to_bytes

from eventrt.aws.protocol.parse import DEPTH_LIMIT, WrongType

PAIRS_LIMIT = 100_000
"""More parameters than any operation has use for."""


def decode(text: str) -> str:
    """Return a form-encoded text as it was: `+` is a blank, `%XX` a byte of UTF-8.

    Raises: WrongType: the bytes are not UTF-8.
    """
    if "+" in text:
        text = text.replace("+", " ")
    return decode_path(text)


def decode_path(text: str) -> str:
    """Return a percent-encoded text as it was; `+` stays.

    Raises: WrongType: the bytes are not UTF-8.
    """
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise WrongType("Request is not valid UTF-8") from error


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return the decoded name-value pairs of a query string or form, in order; a name alone has an empty value.

    Raises: WrongType: not UTF-8, or more than PAIRS_LIMIT pairs.
    """
    if not text:
        return []
    parts = text.split("&", PAIRS_LIMIT)
    if len(parts) > PAIRS_LIMIT:
        raise WrongType("Too many parameters")
    pairs = []
    for part in parts:
        if part:
            name, _, value = part.partition("=")
            pairs.append((decode(name), decode(value)))
    return pairs


def tree_of(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Fold `A.1.B=x` into `{"A": {"1": {"B": "x"}}}`; of a name given twice the last value counts.

    Raises: WrongType: a name is both a value and the stem of others, or nests deeper than DEPTH_LIMIT.
    """
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if "." not in name:
            if tree.get(name).__class__ is dict:
                if value:
                    raise WrongType(f"Parameter {name[:100]} is both a value and a structure")
                continue
            tree[name] = value
            continue
        steps = name.split(".", DEPTH_LIMIT)
        if len(steps) > DEPTH_LIMIT:
            raise WrongType("Parameters nest too deeply")
        here: dict[str, Any] = tree
        for step in steps[:-1]:
            below: Any = here.get(step)
            if below.__class__ is not dict:
                if below:  # a non-empty value; an empty one is how clients write an empty list
                    raise WrongType(f"Parameter {step[:100]} is both a value and a structure")
                below = here[step] = {}
            here = below
        if here.get(steps[-1]).__class__ is not dict:
            here[steps[-1]] = value
    return tree
