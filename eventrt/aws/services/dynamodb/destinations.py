"""Kinesis streaming destinations of a table: its changes are put into a Kinesis stream, in the unit that makes them."""

from dataclasses import replace
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.room import Request, TablesRoom, answers, find_table_itself
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import Destination, Table
from eventrt.errors import ApiError
from eventrt.store.api import Tx

MAXIMUM_DESTINATIONS = 2
_PRECISION = "ApproximateCreationDateTimePrecision"


class Destinations(TablesRoom):
    """The operations on Kinesis streaming destinations."""

    @answers("EnableKinesisStreamingDestination")
    async def enable(self, call: Call, request: Request) -> Answer:
        """Put a table's changes into a Kinesis stream from now on."""
        arn = request["StreamArn"]
        configuration = request.get("EnableKinesisStreamingConfiguration") or {}
        precision = configuration.get(_PRECISION, "MILLISECOND")

        def unit(tx: Tx) -> Table:
            table = find_table_itself(tx, call, request["TableName"])
            _check_stream(tx, call, arn)
            others = [one for one in table.destinations if one.stream_arn != arn]
            present = _find(table, arn)
            if present is not None and present.is_active:
                raise TableError("Table is already in the process of enabling KinesisStreamingDestination")
            if sum(one.is_active for one in others) >= MAXIMUM_DESTINATIONS:
                raise ApiError(
                    "LimitExceededException",
                    f"Table {table.name} already streams to {MAXIMUM_DESTINATIONS} Kinesis streams",
                )
            return tx.tables.update(table, destinations=(*others, Destination(arn, True, precision)))

        table = await self._store.write(unit)
        answer = _shown(table, arn, "ENABLING")
        if configuration:
            answer["EnableKinesisStreamingConfiguration"] = {_PRECISION: precision}
        return answer

    @answers("DisableKinesisStreamingDestination")
    async def disable(self, call: Call, request: Request) -> Answer:
        """Put a table's changes into a Kinesis stream no longer."""
        arn = request["StreamArn"]

        def unit(tx: Tx) -> Table:
            table = find_table_itself(tx, call, request["TableName"])
            present = _find(table, arn)
            if present is None or not present.is_active:
                raise TableError("Table is not in a valid state to disable Kinesis Streaming Destination")
            changed = tuple(
                replace(one, is_active=False) if one.stream_arn == arn else one for one in table.destinations
            )
            return tx.tables.update(table, destinations=changed)

        return _shown(await self._store.write(unit), arn, "DISABLING")

    @answers("UpdateKinesisStreamingDestination")
    async def update(self, call: Call, request: Request) -> Answer:
        """Change how exact the moments of a table's changes are."""
        arn = request["StreamArn"]
        precision = (request.get("UpdateKinesisStreamingConfiguration") or {}).get(_PRECISION)
        if precision is None:
            raise TableError("Streaming destination cannot be updated with an empty configuration")

        def unit(tx: Tx) -> Table:
            table = find_table_itself(tx, call, request["TableName"])
            present = _find(table, arn)
            if present is None or not present.is_active:
                raise TableError("Table is not in a valid state to update Kinesis Streaming Destination")
            if present.precision == precision:
                raise TableError(
                    f"Invalid Request: Precision is already set to the desired value of {precision} for tableId: "
                    f"{table.uuid}, kdsArn: {arn}"
                )
            changed = tuple(
                replace(one, precision=precision) if one.stream_arn == arn else one for one in table.destinations
            )
            return tx.tables.update(table, destinations=changed)

        answer = _shown(await self._store.write(unit), arn, "UPDATING")
        answer["UpdateKinesisStreamingConfiguration"] = {_PRECISION: precision}
        return answer

    @answers("DescribeKinesisStreamingDestination")
    async def describe(self, call: Call, request: Request) -> Answer:
        """Show the Kinesis streams that a table's changes are, or were, put into."""
        table = await self._store.read(lambda tx: find_table_itself(tx, call, request["TableName"]))
        return {
            "TableName": table.name,
            "KinesisDataStreamDestinations": [
                {
                    "StreamArn": one.stream_arn,
                    "DestinationStatus": "ACTIVE" if one.is_active else "DISABLED",
                    _PRECISION: one.precision,
                }
                for one in table.destinations
            ],
        }


def _find(table: Table, arn: str) -> Destination | None:
    return next((one for one in table.destinations if one.stream_arn == arn), None)


def _check_stream(tx: Tx, call: Call, arn: str) -> None:
    stream = tx.streams.by_arn(arn)
    if (
        stream is None
        or stream.kind != "kinesis"
        or stream.arn != arn
        or (stream.account_id, stream.region) != (call.account_id, call.region)
    ):
        raise ApiError("ResourceNotFoundException", f"Requested resource not found: Stream: {arn} not found")


def _shown(table: Table, arn: str, status: str) -> dict[str, Any]:
    return {"TableName": table.name, "StreamArn": arn, "DestinationStatus": status}
