"""DynamoDB numbers: exact decimals of 38 significant digits, their canonical text, and bytes that sort like them.

Source: DynamoDB developer guide, "Naming rules and data types", Number: up to 38 digits of precision, magnitudes
from 1E-130 to 9.9999999999999999999999999999999999999E+125, sent as strings, zeros at the end trimmed.
"""

import re
from decimal import Context, Decimal, Inexact, Rounded
from functools import lru_cache

from eventrt.core.tables.errors import TableError

DIGITS = 38
LARGEST_EXPONENT = 125
SMALLEST_EXPONENT = -130

_LONGEST_TEXT = 400
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,5})?\Z", re.ASCII)
_EXACT = Context(prec=400, traps=[Inexact, Rounded])
_WIDE = Context(prec=400)


def number_of(text: str) -> Decimal:
    """Return the number that a text means.

    Raises: TableError: it is no number, has more than 38 significant digits, or is too large or too small.
    """
    if len(text) > _LONGEST_TEXT:  # no number that fits is so long; a cache must not keep such texts
        raise TableError("Attempting to store more than 38 significant digits in a Number")
    return _number_of(text)


@lru_cache(maxsize=4096)
def _number_of(text: str) -> Decimal:
    if not _NUMBER.match(text):
        said = f": {text}" if text else ""
        raise TableError(f"The parameter cannot be converted to a numeric value{said}")
    number = Decimal(text).normalize(_WIDE)
    if not number:
        return Decimal(0)
    exponent = number.adjusted()
    if exponent > LARGEST_EXPONENT:
        raise TableError("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if exponent < SMALLEST_EXPONENT:
        raise TableError("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    if len(number.as_tuple().digits) > DIGITS:
        raise TableError("Attempting to store more than 38 significant digits in a Number")
    return number


def text_of(number: Decimal) -> str:
    """Return the canonical text of a number: plain digits, without an exponent or zeros at the end."""
    return format(number.normalize(_WIDE), "f") if number else "0"


def is_plain(text: str) -> bool:
    """Is this a whole number of few digits in its canonical text?"""
    return text.isdigit() and text.isascii() and len(text) < 19 and (text[0] != "0" or text == "0")


def canonical(text: str) -> str:
    """Return the canonical text of the number that a text means (raises as `number_of` does)."""
    return text if is_plain(text) else _canonical(text) if len(text) <= _LONGEST_TEXT else text_of(number_of(text))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return text_of(number_of(text))


def add(left: str, right: str, *, sign: int = 1) -> str:
    """Return `left + right` (or `left - right`) exactly, as canonical text.

    Raises: TableError: the result does not fit a number.
    """
    addend = number_of(right)
    total = _EXACT.add(number_of(left), addend if sign > 0 else addend.copy_negate())
    return text_of(number_of(format(total, "e") if total else "0"))


def sortable(text: str) -> bytes:
    """Return bytes that compare as the number does: sign and exponent first, then the digits two to a byte."""
    known = _SMALL.get(text)
    if known is not None:
        return known
    if text.isdigit() and text.isascii() and len(text) < 19 and text[0] != "0":
        # Counters and moments, as most keys are: the general way gives the same.
        digits = text.rstrip("0")
        if len(digits) % 2:
            digits += "0"
        return _HEADS[len(text)] + bytes([_PAIRS[digits[at : at + 2]] for at in range(0, len(digits), 2)])
    return _sortable(text)


_HEADS = [b"\xc0" + (digits - 1 - SMALLEST_EXPONENT + 1).to_bytes(2, "big") for digits in range(19)]
"""Sign and exponent of positive numbers of so many digits before the point."""

_PAIRS = {f"{pair:02}": pair + 1 for pair in range(100)}
_SMALL: dict[str, bytes] = {}


def _sortable(text: str) -> bytes:
    number = number_of(text)
    if not number:
        return b"\x80"
    negative, digits, _ = number.as_tuple()
    if len(digits) % 2:
        digits = (*digits, 0)
    pairs = bytes(digits[index] * 10 + digits[index + 1] + 1 for index in range(0, len(digits), 2))
    exponent = number.adjusted() - SMALLEST_EXPONENT + 1  # 1..256, in two bytes
    if not negative:
        return b"\xc0" + exponent.to_bytes(2, "big") + pairs
    flipped = bytes(255 - byte for byte in exponent.to_bytes(2, "big") + pairs)
    return b"\x40" + flipped + b"\xff"


_SMALL.update((str(number), _sortable(str(number))) for number in range(1000))
