"""The values of streams: hash keys, ranges, sequence numbers, iterators, who was open when."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventrt.core.streams import (
    HIGHEST_HASH_KEY,
    Iterator,
    Route,
    Shard,
    Stream,
    even_ranges,
    hash_key_of,
    open_at,
    parse_hash_key,
    parse_sequence_number,
    sequence_number,
    sequence_of,
    shard_index,
    shard_name,
)


def stream(**more: object) -> Stream:
    return Stream(1, "000000000000", "us-east-1", "s", "kinesis", 1000.0, **more)  # type: ignore[arg-type]


def shard(index: int, *, opened_at: float, closed_at: float | None = None, parent: int | None = None) -> Shard:
    last = None if closed_at is None else 10 * index + 5
    return Shard(index, 1, index, 10 * index, opened_at, parent=parent, closed_at=closed_at, last_sequence=last)


@given(st.text(min_size=1, max_size=256))
def test_a_partition_key_is_hashed_as_its_md5(key: str) -> None:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return
    assert hash_key_of(key) == int(hashlib.md5(encoded).hexdigest(), 16)


@given(st.integers(1, 2000))
def test_even_ranges_cover_the_hash_key_space_and_differ_by_one_key_at_most(count: int) -> None:
    ranges = even_ranges(count)
    shards = [
        Shard(n, 1, n, 0, 0.0, starting_hash_key=low, ending_hash_key=high) for n, (low, high) in enumerate(ranges)
    ]
    route = Route(shards)
    assert route.covers_everything()
    widths = {high - low for low, high in ranges}
    assert max(widths) - min(widths) <= 1
    for index, (low, high) in enumerate(ranges):
        assert route.index_of(low) == route.index_of(high) == index


def test_ranges_with_a_gap_or_an_overlap_do_not_cover_everything() -> None:
    def shards(*ranges: tuple[int, int]) -> Route:
        return Route(
            [Shard(n, 1, n, 0, 0.0, starting_hash_key=a, ending_hash_key=b) for n, (a, b) in enumerate(ranges)]
        )

    assert shards((0, 4), (5, HIGHEST_HASH_KEY)).covers_everything()
    assert not shards((0, 4), (6, HIGHEST_HASH_KEY)).covers_everything()
    assert not shards((0, 5), (5, HIGHEST_HASH_KEY)).covers_everything()
    assert not shards((0, 4)).covers_everything()
    assert not shards().covers_everything()


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_sequence_numbers_have_56_digits_and_order_as_their_counters(one: int, other: int, index: int) -> None:
    a, b = sequence_number(one, index), sequence_number(other, index)
    assert len(a) == 56
    assert a.isdecimal()
    assert (a < b) == (one < other)
    assert parse_sequence_number(a) == (one, index)
    assert sequence_of(a) == one


@pytest.mark.parametrize(
    "text", ["", "0", "1", "4" * 56, "49" + "x" * 54, "49" + "1" * 55, "49" + "\u0661" * 54, "-" * 56]
)
def test_what_is_no_sequence_number_of_ours_is_seen(text: str) -> None:
    assert parse_sequence_number(text) is None
    assert sequence_of(text) is None


def test_shard_ids_have_twelve_digits() -> None:
    assert shard_name(17) == "shardId-000000000017"
    assert shard_index("shardId-000000000017") == 17
    for text in ("shardId-17", "shard-000000000017", "shardId-00000000001x", "shardId-" + "\u0661" * 12, "x", ""):
        assert shard_index(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), (str(HIGHEST_HASH_KEY), HIGHEST_HASH_KEY), (str(HIGHEST_HASH_KEY + 1), None), ("", None), ("x", None)],
)
def test_hash_keys_are_128_bit_decimals(text: str, expected: int | None) -> None:
    assert parse_hash_key(text) == expected
    assert parse_hash_key("9" * 5000) is None


def test_an_iterator_is_an_opaque_text_that_nobody_can_make_up() -> None:
    iterator = Iterator(3, 7, 12345, 1_700_000_000.25)
    token = iterator.token()
    assert Iterator.of(token) == iterator
    assert len(token) <= 512
    for broken in ("", "x", token[:-4], token[::-1], token.replace(token[10], "A" if token[10] != "A" else "B"), "é"):
        with pytest.raises(ValueError, match="not a shard iterator"):
            Iterator.of(broken)


@pytest.mark.parametrize(
    ("moment", "expected"), [(0.5, []), (1.0, [0]), (3.0, [0]), (5.0, [0]), (6.0, [1, 2]), (9.0, [1, 2])]
)
def test_of_a_shard_and_its_children_of_one_moment_the_shard_was_open(moment: float, expected: list[int]) -> None:
    shards = [
        shard(0, opened_at=1.0, closed_at=5.0),
        shard(1, opened_at=5.0, parent=0),
        shard(2, opened_at=5.0, parent=0),
    ]
    assert [each.index for each in open_at(shards, moment)] == expected


def test_a_status_holds_until_it_settles() -> None:
    creating = stream(status="CREATING", settles_at=1002.0)
    assert creating.status_at(1001.9) == "CREATING"
    assert creating.status_at(1002.0) == "ACTIVE"
    deleting = stream(status="DELETING", settles_at=1002.0)
    assert deleting.status_at(1001.9) == "DELETING"
    assert deleting.status_at(1002.0) == "GONE"
    assert stream().status_at(0.0) == "ACTIVE"


def test_the_horizon_never_shows_again_what_had_expired() -> None:
    assert stream(retention_s=100).horizon(1000.0) == 900.0
    assert stream(retention_s=500, floor=900.0).horizon(1000.0) == 900.0
    assert stream(retention_s=500, floor=900.0).horizon(1500.0) == 1000.0


def test_the_arns_of_both_kinds() -> None:
    assert stream().arn == "arn:aws:kinesis:us-east-1:000000000000:stream/s"
    table = Stream(1, "000000000000", "us-east-1", "t", "table", 0.0, label="2024-01-31T10:11:12.345")
    assert table.arn == "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2024-01-31T10:11:12.345"
