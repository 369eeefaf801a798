"""What a shard takes and gives per second."""

from eventrt.core.throughput import READ_BYTES_PER_S, WRITE_BYTES_PER_S, Throughput

NOW = 1_700_000_000.0


def test_a_shard_takes_a_thousand_records_a_second() -> None:
    throughput = Throughput()
    assert sum(throughput.admits_record(1, 10, NOW) for _ in range(1500)) == 1000
    assert sum(throughput.admits_record(1, 10, NOW + 0.5) for _ in range(1500)) == 500
    assert sum(throughput.admits_record(1, 10, NOW + 60) for _ in range(1500)) == 1000


def test_a_shard_takes_a_mebibyte_a_second_and_pays_back_what_was_more() -> None:
    throughput = Throughput()
    assert throughput.admits_record(1, 3 * WRITE_BYTES_PER_S, NOW)
    assert not throughput.admits_record(1, 1, NOW)
    assert not throughput.admits_record(1, 1, NOW + 1.9)
    assert throughput.admits_record(1, 1, NOW + 2.1)


def test_shards_do_not_share() -> None:
    throughput = Throughput()
    assert throughput.admits_record(1, 2 * WRITE_BYTES_PER_S, NOW)
    assert throughput.admits_record(2, 1, NOW)


def test_a_shard_is_read_five_times_a_second() -> None:
    throughput = Throughput()
    assert sum(throughput.admits_read(1, NOW) for _ in range(9)) == 5
    assert sum(throughput.admits_read(1, NOW + 0.41) for _ in range(9)) == 2


def test_a_shard_gives_two_mebibytes_a_second_and_ten_in_five() -> None:
    throughput = Throughput()
    assert throughput.admits_read(1, NOW)
    throughput.has_read(1, 5 * READ_BYTES_PER_S, NOW)
    assert not throughput.admits_read(1, NOW + 3.9)
    assert throughput.admits_read(1, NOW + 4.1)


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    throughput = Throughput()
    assert throughput.admits_read(1, NOW)
    assert sum(throughput.admits_read(1, NOW - 100) for _ in range(9)) == 4
    assert sum(throughput.admits_read(1, NOW - 99) for _ in range(9)) == 5


def test_full_buckets_are_forgotten() -> None:
    throughput = Throughput()
    for shard_id in range(10_000):
        throughput.admits_record(shard_id, 1, NOW + shard_id)
    assert len(throughput._buckets) < 4200
