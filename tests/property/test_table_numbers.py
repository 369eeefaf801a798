"""Numbers of tables are exact: canonical text, sums, and bytes that sort as the numbers do."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.numbers import add, canonical, number_of, sortable

digits = st.integers(-(10**38) + 1, 10**38 - 1)
numbers = st.builds(lambda mantissa, exponent: f"{mantissa}E{exponent}", digits, st.integers(-130, 87))


@given(numbers)
def test_canonical_text_means_the_same_number_and_is_its_own_canonical_text(text: str) -> None:
    shown = canonical(text)
    assert Decimal(shown) == Decimal(text)
    assert canonical(shown) == shown
    assert "E" not in shown


@given(numbers, numbers)
def test_bytes_sort_as_the_numbers_do(left: str, right: str) -> None:
    mine, theirs = number_of(left), number_of(right)
    assert (sortable(left) < sortable(right)) == (mine < theirs)
    assert (sortable(left) == sortable(right)) == (mine == theirs)


@given(st.integers(0, 10**20))
def test_bytes_are_the_same_however_a_number_is_written(number: int) -> None:
    assert sortable(str(number)) == sortable(f"{number}.0") == sortable(f"{number}E0")


@given(st.integers(-(10**37), 10**37), st.integers(-(10**37), 10**37))
def test_sums_are_exact(left: int, right: int) -> None:
    assert int(add(str(left), str(right))) == left + right
    assert int(add(str(left), str(right), sign=-1)) == left - right


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "cannot be converted to a numeric value: abc"),
        ("", "cannot be converted"),
        ("NaN", "cannot be converted"),
        ("1" * 39, "more than 38 significant digits"),
        ("1E126", "Number overflow"),
        ("1E-131", "Number underflow"),
    ],
)
def test_what_is_no_number_of_38_digits_is_refused(text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        number_of(text)
