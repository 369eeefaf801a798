"""Mappings of streams at work on virtual time: order, retries, discards, windows, resharding, pauses, expiry."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from eventrt.core.records import ServiceFault, Succeeded, Throttled
from eventrt.core.refused import Refused
from eventrt.core.streams import shard_name
from eventrt.sources import streams
from tests.stream_house import ERROR, OK, House, Seen, failing, stream_house

HOUR, DAY = 3600.0, 86_400.0


def poison(*payloads: str) -> Any:
    """Return a function that fails when it is given one of these."""
    return lambda seen: ERROR if set(payloads) & set(seen.payloads) else OK


def numbers(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


async def test_records_come_in_order_and_the_checkpoint_follows(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.put(stream, *numbers(5))
        await h.map(stream, BatchSize=2)
        assert h.invoker.payloads == [["0", "1"], ["2", "3"], ["4"]]
        assert await h.checkpoints() == {shard_name(0): h.invoker.seen[-1].sequences[-1]}
        mapping = await h.get()
        assert mapping is not None
        assert (mapping.state, mapping.last_result) == ("Enabled", "OK")


async def test_latest_begins_after_the_answer_of_create(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream(shard_count=2)
        await h.put(stream, ("a", "old"), ("b", "old"))
        await h.map(stream, StartingPosition="LATEST")
        await h.put(stream, ("a", "new"), ("b", "new"))
        await h.settle()
        assert sorted(h.invoker.payloads) == [["new"], ["new"]] or h.invoker.payloads == [["new", "new"]]


async def test_at_timestamp_begins_with_the_first_record_of_that_moment(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        for payload in numbers(4):
            await h.put(stream, payload)
            await h.clock.advance(10)
        await h.map(stream, StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=1_700_000_020.0)
        assert h.invoker.payloads == [["2", "3"]]


async def test_a_failing_batch_is_tried_again_until_its_attempts_are_used_up(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")
        h.invoker.behave = poison("1")
        await h.map(stream, MaximumRetryAttempts=2, DestinationConfig={"OnFailure": {"Destination": target}})
        await h.put(stream, "0", "1")
        await h.settle()
        await h.put(stream, "2")
        await h.clock.advance(60)
        assert h.invoker.payloads == [["0", "1"]] * 3 + [["2"]]
        assert [round(each.at - h.invoker.seen[0].at) for each in h.invoker.seen] == [0, 1, 3, 3]
        (record,) = await h.messages("dead")
        first = h.invoker.seen[0]
        assert record["requestContext"].pop("requestId")
        assert record == {
            "requestContext": {
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 3,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": "2023-11-14T22:13:23.000Z",
            "KinesisBatchInfo": {
                "shardId": shard_name(0),
                "startSequenceNumber": first.sequences[0],
                "endSequenceNumber": first.sequences[1],
                "approximateArrivalOfFirstRecord": "2023-11-14T22:13:20.000Z",
                "approximateArrivalOfLastRecord": "2023-11-14T22:13:20.000Z",
                "batchSize": 2,
                "streamArn": stream.arn,
            },
        }


async def test_bisect_discards_the_poison_and_nothing_else(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")
        h.invoker.behave = poison("6")
        await h.put(stream, *numbers(8))
        await h.map(
            stream,
            BisectBatchOnFunctionError=True,
            MaximumRetryAttempts=0,
            DestinationConfig={"OnFailure": {"Destination": target}},
        )
        assert h.invoker.payloads == [
            numbers(8),
            ["0", "1", "2", "3"],
            ["4", "5", "6", "7"],
            ["4", "5"],
            ["6", "7"],
            ["6"],
            ["7"],
        ]
        (record,) = await h.messages("dead")
        assert record["KinesisBatchInfo"]["batchSize"] == 1
        assert record["requestContext"]["approximateInvokeCount"] == 1


async def test_a_partial_report_keeps_what_was_done_and_tries_the_rest(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")
        h.invoker.behave = lambda seen: failing(
            *(number for payload, number in zip(seen.payloads, seen.sequences, strict=True) if payload == "2")
        )
        await h.put(stream, *numbers(4))
        await h.map(
            stream,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            MaximumRetryAttempts=1,
            DestinationConfig={"OnFailure": {"Destination": target}},
        )
        await h.clock.advance(60)
        assert h.invoker.payloads == [numbers(4), ["2", "3"]]
        (record,) = await h.messages("dead")
        assert record["responseContext"]["functionError"] is None
        assert record["KinesisBatchInfo"]["startSequenceNumber"] == h.invoker.seen[1].sequences[0]
        assert record["KinesisBatchInfo"]["batchSize"] == 2


async def test_records_that_are_too_old_are_reported_and_the_rest_is_delivered(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")
        await h.put(stream, "old")
        await h.clock.advance(100)
        await h.put(stream, "young")
        await h.map(stream, MaximumRecordAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": target}})
        assert h.invoker.payloads == [["young"]]
        (record,) = await h.messages("dead")
        assert record["requestContext"]["condition"] == "RecordAgeExceeded"
        assert record["requestContext"]["approximateInvokeCount"] == 1
        assert "responseContext" not in record
        assert record["KinesisBatchInfo"]["batchSize"] == 1


async def test_throttles_use_up_no_attempt(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        answers: list[Any] = [Throttled("x")] * 5 + [OK]
        h.invoker.behave = lambda seen: answers.pop(0)
        await h.put(stream, "0")
        await h.map(stream, MaximumRetryAttempts=0)
        await h.clock.advance(60)
        assert h.invoker.payloads == [["0"]] * 6
        assert answers == []


async def test_a_batch_gathers_for_its_window(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream, MaximumBatchingWindowInSeconds=10, BatchSize=4)
        await h.put(stream, "0")
        await h.clock.advance(5)
        await h.put(stream, "1")
        await h.clock.advance(4)
        assert h.invoker.payloads == []
        await h.clock.advance(1)
        assert h.invoker.payloads == [["0", "1"]]
        await h.put(stream, *numbers(4, 2))
        await h.settle()
        assert h.invoker.payloads[1:] == [numbers(4, 2)]


async def test_keys_keep_their_order_while_lanes_run_beside_each_other(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()

        async def behave(seen: Seen) -> Succeeded:
            for _ in range(20):
                await asyncio.sleep(0)
            return OK

        h.invoker.behave = behave
        await h.put(stream, *[(f"k{number % 40}", str(number)) for number in range(400)])
        await h.map(stream, ParallelizationFactor=10, BatchSize=10)
        await h.clock.advance(60)
        assert h.invoker.most_running == 10
        by_key: dict[str, list[int]] = {}
        for seen in h.invoker.seen:
            for key, payload in zip(seen.keys, seen.payloads, strict=True):
                by_key.setdefault(key, []).append(int(payload))
        assert len(by_key) == 40
        assert all(order == sorted(order) and len(order) == 10 for order in by_key.values())


async def test_a_failing_key_holds_up_its_lane_only(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        h.invoker.behave = poison("bad")
        await h.map(stream, ParallelizationFactor=10, BatchSize=1)
        await h.put(stream, ("poisoned", "bad"), *[(f"k{number}", str(number)) for number in range(50)])
        await h.clock.advance(30)
        done = {payload for seen in h.invoker.seen for payload in seen.payloads}
        assert len(done) > 40
        status = await h.supervisor.inspect("m1")
        assert status["shards"][0]["attempts"] >= 5
        assert status["shards"][0]["lag_records"] == 51
        assert status["shards"][0]["iterator_age_ms"] == 30_000


async def test_a_failing_shard_delays_no_other_shard_and_no_other_mapping(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream(shard_count=4)
        keys = [f"k{number}" for number in range(40)]
        h.invoker.behave = poison("bad")
        await h.map(stream)
        await h.put(stream, *[(key, "bad" if key == "k0" else key) for key in keys])
        await h.settle()
        await h.put(stream, *[(key, f"{key}-2") for key in keys])
        await h.settle()
        status = await h.supervisor.inspect("m1")
        behind = [shard for shard in status["shards"] if shard["lag_records"]]
        assert len(behind) == 1
        assert behind[0]["waiting_for"] == "the next attempt, after a failed one"
        mapping = await h.get()
        assert mapping is not None
        assert mapping.last_result == "PROBLEM: Function call failed"


async def test_filtered_records_are_passed_over_and_the_checkpoint_advances(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        pattern = json.dumps({"data": {"kind": ["good"]}})
        await h.map(stream, FilterCriteria={"Filters": [{"Pattern": pattern}]})
        await h.put(stream, "plain", '{"kind": "bad"}', '{"kind": "good"}', "[1]", '{"kind": "bad"}')
        await h.settle()
        assert h.invoker.payloads == [['{"kind": "good"}']]
        status = await h.supervisor.inspect("m1")
        assert status["shards"][0]["lag_records"] == 0


async def test_a_paused_mapping_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream, StartingPosition="LATEST")
        await h.put(stream, "0")
        await h.settle()
        await h.update(Enabled=False)
        await h.put(stream, "1")
        await h.settle()
        assert h.invoker.payloads == [["0"]]
        await h.update(Enabled=True)
        assert h.invoker.payloads == [["0"], ["1"]]


async def test_a_mapping_that_is_created_disabled_begins_when_it_is_enabled(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream, StartingPosition="LATEST", Enabled=False)
        await h.put(stream, "before")
        await h.update(Enabled=True)
        await h.put(stream, "after")
        await h.settle()
        assert h.invoker.payloads == [["after"]]


async def test_a_mapping_made_anew_starts_at_its_starting_position_again(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.put(stream, "0")
        await h.map(stream)
        await h.delete()
        assert await h.checkpoints() == {}
        await h.map(stream, "m2")
        assert h.invoker.payloads == [["0"], ["0"]]


async def test_an_update_waits_for_the_batch_in_flight_and_goes_on_with_the_new_settings(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        release = asyncio.Event()

        async def behave(seen: Seen) -> Succeeded:
            await release.wait()
            return OK

        h.invoker.behave = behave
        await h.put(stream, *numbers(4))
        await h.map(stream, BatchSize=1, settles=False)
        await h.until(lambda: len(h.invoker.seen) == 1)
        await h.until_enabled()
        await h.update(BatchSize=3, settles=False)
        for _ in range(50):
            await asyncio.sleep(0)
        assert h.invoker.payloads == [["0"]]
        release.set()
        await h.settle()
        assert h.invoker.payloads == [["0"], ["1", "2", "3"]]


async def test_mappings_of_one_stream_are_independent(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function("f")
        await h.function("g")
        stream = await h.stream()
        await h.put(stream, "0")
        await h.map(stream, "m1")
        await h.map(stream, "m2", FunctionName="g")
        await h.put(stream, "1")
        await h.settle()
        assert sorted(h.invoker.payloads) == [["0"], ["0"], ["1"], ["1"]]


async def test_children_begin_after_their_parents_are_finished(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        h.invoker.behave = lambda seen: ERROR if "bad" in seen.payloads and h.clock.now() < 1_700_000_020 else OK
        await h.map(stream, BatchSize=1)
        await h.put(stream, "bad")
        (parent,) = await h.shards(stream)
        await h.store.write(lambda tx: streams.split(tx, stream, parent, 2**127))
        await h.put(stream, ("a", "child"), ("b", "child"))
        await h.clock.advance(10)
        assert {seen.payloads[0] for seen in h.invoker.seen} == {"bad"}
        status = await h.supervisor.inspect("m1")
        assert [shard["state"] for shard in status["shards"]] == ["reading", "waiting", "waiting"]
        await h.clock.advance(30)
        assert [seen.payloads[0] for seen in h.invoker.seen][-2:] == ["child", "child"]
        status = await h.supervisor.inspect("m1")
        assert [shard["state"] for shard in status["shards"]] == ["finished", "reading", "reading"]


async def test_a_merged_shard_waits_for_both_parents(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream(shard_count=2)
        await h.map(stream, StartingPosition="LATEST", BatchSize=1)
        await h.put(stream, *[(f"k{number}", f"old{number}") for number in range(20)])
        first, second = await h.shards(stream)
        await h.store.write(lambda tx: streams.merge(tx, stream, first, second))
        await h.put(stream, *[(f"k{number}", f"new{number}") for number in range(20)])
        await h.settle()
        order = [seen.payloads[0] for seen in h.invoker.seen]
        assert len(order) == 40
        assert {payload[:3] for payload in order[:20]} == {"old"}


async def test_latest_reads_new_children_from_their_start(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.put(stream, "old")
        await h.map(stream, StartingPosition="LATEST")
        (parent,) = await h.shards(stream)

        def unit(tx: Any) -> None:
            streams.split(tx, stream, parent, 2**127)

        await h.store.write(unit)
        await h.put(stream, ("a", "1"), ("b", "2"))
        await h.settle()
        assert sorted(payload for seen in h.invoker.seen for payload in seen.payloads) == ["1", "2"]


async def test_a_mapping_of_a_stream_that_is_gone_says_so_and_reads_a_new_one_from_its_start(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        await h.store.write(lambda tx: tx.streams.delete(stream))
        await h.settle()
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "The stream does not exist."
        again = await h.stream()
        await h.put(again, "1")
        await h.settle()
        assert h.invoker.payloads == [["0"], ["1"]]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is None


async def test_records_that_expired_unread_are_told_of(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        await h.update(Enabled=False)
        await h.put(stream, "lost")
        await h.clock.advance(DAY + HOUR)
        h.invoker.behave = lambda seen: ERROR
        await h.put(stream, "kept")
        await h.update(Enabled=True)
        assert h.invoker.payloads == [["0"], ["kept"]]
        status = await h.supervisor.inspect("m1")
        assert status["shards"][0]["expired_unread_at"] == h.clock.now()


async def test_a_gap_that_the_sweeper_left_is_seen_too(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        await h.update(Enabled=False)
        await h.put(stream, "lost")
        await h.clock.advance(DAY + HOUR)
        await h.store.write(lambda tx: tx.streams.sweep(1000))
        await h.update(Enabled=True)
        status = await h.supervisor.inspect("m1")
        assert status["shards"][0]["expired_unread_at"] is not None
        assert status["last_result"] == "PROBLEM: Records expired in the source before they were read"


async def test_a_shard_that_was_forgotten_before_it_was_read_whole_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        await h.update(Enabled=False)
        await h.put(stream, "lost")
        (parent,) = await h.shards(stream)
        await h.store.write(lambda tx: streams.split(tx, stream, parent, 2**127))
        await h.clock.advance(2 * DAY)
        await h.store.write(lambda tx: tx.streams.sweep(1000))
        assert len(await h.shards(stream)) == 2
        await h.put(stream, ("a", "child"))
        await h.update(Enabled=True)
        assert h.invoker.payloads == [["0"], ["child"]]
        assert capsys.readouterr().out.count("record.expired_unread") == 1
        assert shard_name(0) not in await h.checkpoints()


async def test_a_shard_that_was_forgotten_after_it_was_read_whole_is_no_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        await h.update(Enabled=False)
        (parent,) = await h.shards(stream)
        await h.store.write(lambda tx: streams.split(tx, stream, parent, 2**127))
        await h.clock.advance(2 * DAY)
        await h.store.write(lambda tx: tx.streams.sweep(1000))
        await h.put(stream, ("a", "child"))
        await h.update(Enabled=True)
        assert h.invoker.payloads == [["0"], ["child"]]
        assert "record.expired_unread" not in capsys.readouterr().out


@pytest.mark.parametrize("is_swept", [True, False])
@pytest.mark.parametrize("position", ["TRIM_HORIZON", "AT_TIMESTAMP"])
async def test_what_expired_before_the_mapping_was_made_is_no_gap(
    tmp_path: Path, position: str, is_swept: bool
) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        moment = h.clock.now() - 1
        await h.put(stream, *numbers(5))
        await h.clock.advance(2 * 86_400)
        if is_swept:
            await h.store.write(lambda tx: tx.streams.sweep(100))
        more = {"StartingPositionTimestamp": moment} if position == "AT_TIMESTAMP" else {}
        await h.map(stream, StartingPosition=position, **more)
        await h.put(stream, "new")
        await h.settle()
        assert h.invoker.payloads == [["new"]]
        status = await h.supervisor.inspect("m1")
        assert status is not None
        assert status["shards"][0]["expired_unread_at"] is None


async def test_an_idle_stream_has_no_gap_however_old_its_last_record_is(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream(shard_count=2)
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        await h.update(Enabled=False)
        await h.clock.advance(3 * DAY)
        await h.store.write(lambda tx: tx.streams.sweep(1000))
        await h.put(stream, "1")
        await h.update(Enabled=True)
        assert h.invoker.payloads == [["0"], ["1"]]
        status = await h.supervisor.inspect("m1")
        assert [shard["expired_unread_at"] for shard in status["shards"]] == [None, None]


async def test_a_batch_that_fails_until_its_records_expire_is_given_up(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")
        h.invoker.behave = poison("bad")
        await h.map(stream, DestinationConfig={"OnFailure": {"Destination": target}})
        await h.put(stream, "bad")
        await h.clock.advance(DAY - 60)
        await h.put(stream, "good")
        await h.clock.advance(120)
        assert h.invoker.payloads[-1] == ["good"]
        (record,) = await h.messages("dead")
        assert record["requestContext"]["condition"] == "RecordAgeExceeded"
        assert record["requestContext"]["approximateInvokeCount"] == len(h.invoker.seen) - 1


async def test_a_tumbling_window_carries_its_state_and_ends_with_a_final_call(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()

        def count(seen: Seen) -> Succeeded:
            state = {"n": seen.event["state"].get("n", 0) + len(seen.payloads)}
            return Succeeded(json.dumps({"state": state}).encode())

        h.invoker.behave = count
        await h.map(stream, TumblingWindowInSeconds=60, BatchSize=2)
        await h.put(stream, *numbers(3))
        await h.clock.advance(61)
        windows = [
            (seen.payloads, seen.event["state"], seen.event["isFinalInvokeForWindow"]) for seen in h.invoker.seen
        ]
        assert windows == [(["0", "1"], {}, False), (["2"], {"n": 2}, False), ([], {"n": 3}, True)]
        last = h.invoker.seen[-1].event
        assert last["window"] == {"start": "2023-11-14T22:13:00Z", "end": "2023-11-14T22:14:00Z"}
        assert last["shardId"] == shard_name(0)
        assert last["eventSourceARN"] == stream.arn
        assert last["isWindowTerminatedEarly"] is False


async def test_a_function_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        fault = ServiceFault("ResourceNotFoundException", "Function not found", 404)
        h.invoker.behave = lambda seen: fault
        await h.map(stream)
        await h.put(stream, "0")
        await h.settle()
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "ResourceNotFoundException: Function not found"
        h.invoker.behave = lambda seen: OK
        await h.function()  # it is there again, and nobody waits for the backoff
        await h.settle()
        assert h.invoker.payloads == [["0"], ["0"]]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is None


async def test_a_restart_replays_only_what_was_in_flight(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()

        async def behave(seen: Seen) -> Succeeded:
            if "3" in seen.payloads:
                await asyncio.Event().wait()
            return OK

        h.invoker.behave = behave
        await h.put(stream, *numbers(5))
        await h.map(stream, BatchSize=1, settles=False)
        await h.until(lambda: len(h.invoker.seen) == 4)
        now = h.clock.now()
    async with stream_house(tmp_path, begin_at=now) as h:
        await h.settle()
        assert h.invoker.payloads == [["3"], ["4"]]


async def test_drain_lets_the_batch_in_flight_end_and_commits_it(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        release = asyncio.Event()

        async def behave(seen: Seen) -> Succeeded:
            await release.wait()
            return OK

        h.invoker.behave = behave
        await h.put(stream, *numbers(2))
        await h.map(stream, BatchSize=1, settles=False)
        await h.until(lambda: len(h.invoker.seen) == 1)
        asyncio.get_running_loop().call_soon(release.set)
        assert await h.supervisor.drain(5.0)
        assert h.invoker.payloads == [["0"]]
        assert await h.checkpoints() == {shard_name(0): h.invoker.seen[0].sequences[0]}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"StartingPosition": None}, "Value null at 'startingPosition'"),
        ({"StartingPosition": "AT_TIMESTAMP"}, "StartingPositionTimestamp is required"),
        ({"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1e11}, "in the future"),
        ({"StartingPositionTimestamp": 1.0}, "only valid with the starting position AT_TIMESTAMP"),
        ({"ScalingConfig": {"MaximumConcurrency": 2}}, "Unsupported ScalingConfig parameter"),
        ({"MaximumRecordAgeInSeconds": 30}, "Invalid MaximumRecordAgeInSeconds: 30"),
        ({"TumblingWindowInSeconds": 60, "ParallelizationFactor": 2}, "ParallelizationFactor must be 1"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"data": ["x"]}'}]}}, "Invalid filter pattern definition."),
        ({"DestinationConfig": {"OnSuccess": {"Destination": "arn:aws:sqs:r:1:q"}}}, "Unsupported DestinationConfig"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sns:r:1:t"}}}, "Amazon SNS topics"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::none"}}}, "is invalid."),
        ({"DestinationConfig": {"OnFailure": {"Destination": "kafka://topic"}}}, "Kafka topics"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:r:1:q.fifo"}}}, "is invalid."),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:r:1:none"}}}, "is invalid."),
    ],
)
async def test_what_a_stream_does_not_take_is_refused(tmp_path: Path, request_: dict[str, Any], words: str) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        with pytest.raises(Refused, match=words.replace("(", "\\(")):
            await h.map(stream, **request_)


async def test_a_stream_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        arn = "arn:aws:kinesis:us-east-1:000000000000:stream/none"
        with pytest.raises(Refused, match=f"Stream not found: {arn}"):
            await h.map(arn)


async def test_a_second_mapping_between_the_same_two_is_a_conflict(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream)
        with pytest.raises(
            Refused, match=r'The event source arn \(" arn:aws:kinesis.* provided mapping already exists'
        ):
            await h.map(stream, "m2")


async def test_a_house_without_records_rests(tmp_path: Path) -> None:
    """No timers and no wake-ups: an hour of clock passes in one step."""
    async with stream_house(tmp_path) as h:
        assert isinstance(h, House)
        await h.function()
        stream = await h.stream(shard_count=4)
        await h.map(stream, ParallelizationFactor=10)
        assert not [timer for _, _, timer in h.clock._timers if not timer.cancelled]
