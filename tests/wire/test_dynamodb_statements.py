"""PartiQL over the wire: select, insert, update, delete; pages, batches, transactions."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import checked_client, error_of, invalid, make_table, refusal_of


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


@pytest.fixture
def music(tables: Any) -> str:
    """A table with seven items of two partitions."""
    table = make_table(
        tables,
        sort="n",
        attributes=[{"AttributeName": "genre", "AttributeType": "S"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-genre",
                "KeySchema": [{"AttributeName": "genre", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    for name, count in (("ada", 5), ("bob", 2)):
        for number in range(count):
            value = f"{{'id': ?, 'n': {number}, 'genre': 'g{number % 2}', 'm': {{'x': [1, 2]}}}}"
            run(tables, f'INSERT INTO "{table}" VALUE {value}', {"S": name})
    return table


def run(tables: Any, statement: str, *parameters: dict[str, Any], **more: Any) -> Any:
    if parameters:
        more["Parameters"] = list(parameters)
    return tables.execute_statement(Statement=statement, **more)["Items"]


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [f"{item['id']['S']}{item['n']['N']}" for item in items]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("id = 'ada'", ["ada0", "ada1", "ada2", "ada3", "ada4"]),
        ("id = 'ada' AND n > 2", ["ada3", "ada4"]),
        ("id = 'ada' AND n BETWEEN 1 AND 3 AND genre = 'g1'", ["ada1", "ada3"]),
        ("id IN ['bob', 'ada'] AND n = 1", ["bob1", "ada1"]),
        ("id = 'ada' AND n IN (1, 4)", ["ada1", "ada4"]),
        ("id = 'ada' AND (n = 0 OR n = 4)", ["ada0", "ada4"]),
        ("id = 'ada' AND NOT n < 4", ["ada4"]),
        ("id = 'ada' AND n > 2 ORDER BY n DESC", ["ada4", "ada3"]),
        ("id = 'ada' AND m.x[1] = 2 AND n < 1", ["ada0"]),
        ("id = 'ada' AND m.y IS MISSING AND n <> 0 AND n <= 1", ["ada1"]),
        ("id = 'bob' AND begins_with(genre, 'g') AND size(genre) = 2", ["bob0", "bob1"]),
        ("id = 'nobody'", []),
    ],
)
def test_select_finds_what_where_says(tables: Any, music: str, where: str, expected: list[str]) -> None:
    assert ids(run(tables, f'SELECT * FROM "{music}" WHERE {where}')) == expected


def test_select_without_a_partition_scans(tables: Any, music: str) -> None:
    assert sorted(ids(run(tables, f'SELECT * FROM "{music}" WHERE n = 1'))) == ["ada1", "bob1"]
    assert len(run(tables, f'SELECT * FROM "{music}"')) == 7


def test_select_reads_an_index(tables: Any, music: str) -> None:
    found = run(tables, f'SELECT id, n FROM "{music}"."by-genre" WHERE genre = ?', {"S": "g1"})
    assert sorted(ids(found)) == ["ada1", "ada3", "bob1"]
    assert all(set(item) == {"id", "n"} for item in found)


def test_select_shows_parts_under_their_last_name(tables: Any, music: str) -> None:
    found = run(tables, f"SELECT m.x[0], genre FROM \"{music}\" WHERE id = 'ada' AND n = 0")
    assert found == [{"x": {"N": "1"}, "genre": {"S": "g0"}}]


def test_pages_of_a_select_follow_each_other_through_partitions(tables: Any, music: str) -> None:
    statement = f"SELECT * FROM \"{music}\" WHERE id IN ['ada', 'bob']"
    found: list[str] = []
    arguments: dict[str, Any] = {}
    while True:
        page = tables.execute_statement(Statement=statement, Limit=2, **arguments)
        found += ids(page["Items"])
        if "NextToken" not in page:
            break
        arguments = {"NextToken": page["NextToken"]}
    assert found == ["ada0", "ada1", "ada2", "ada3", "ada4", "bob0", "bob1"]
    for token in ("nonsense", "AAAA", arguments["NextToken"]):
        code, message = error_of(tables.execute_statement, Statement=statement + " AND n > 0", NextToken=token, Limit=2)
        assert (code, message) == invalid("Invalid NextToken")


def test_insert_happens_once(tables: Any, music: str) -> None:
    statement = f"INSERT INTO \"{music}\" VALUE {{'id': 'new', 'n': 1, 's': <<'a', 'b'>>, 'b': true, 'z': null}}"
    assert run(tables, statement) == []
    assert run(tables, f"SELECT s, b, z FROM \"{music}\" WHERE id = 'new' AND n = 1") == [
        {"s": {"SS": ["a", "b"]}, "b": {"BOOL": True}, "z": {"NULL": True}}
    ]
    code, message = error_of(tables.execute_statement, Statement=statement)
    assert (code, message) == ("DuplicateItemException", "Duplicate primary key exists in table")


def test_update_changes_one_item_that_is_there(tables: Any, music: str) -> None:
    where = "WHERE id = 'ada' AND n = 1"
    changed = run(
        tables,
        f'UPDATE "{music}" SET genre = ? SET plays = 3, m.y = list_append(m.x, [3]) REMOVE m.x {where} '
        "RETURNING MODIFIED NEW *",
        {"S": "jazz"},
    )
    assert changed == [
        {
            "genre": {"S": "jazz"},
            "plays": {"N": "3"},
            "m": {"M": {"y": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]}}},
        }
    ]
    old = run(tables, f'UPDATE "{music}" SET plays = plays - 1 {where} RETURNING ALL OLD *')
    assert old[0]["plays"] == {"N": "3"}
    assert run(tables, f'SELECT plays FROM "{music}" {where} AND plays = 2') == [{"plays": {"N": "2"}}]
    for condition in ("WHERE id = 'ada' AND n = 77", f"{where} AND plays = 9"):
        code, _ = error_of(tables.execute_statement, Statement=f'UPDATE "{music}" SET plays = 0 {condition}')
        assert code == "ConditionalCheckFailedException"


def test_delete_removes_one_item(tables: Any, music: str) -> None:
    statement = f"DELETE FROM \"{music}\" WHERE id = 'bob' AND n = 1"
    code, _ = error_of(tables.execute_statement, Statement=f"{statement} AND genre = 'none'")
    assert code == "ConditionalCheckFailedException"
    assert ids(run(tables, f"{statement} RETURNING ALL OLD *")) == ["bob1"]
    assert run(tables, statement) == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT FROM x", "Statement wasn't well formed, can't be processed: Unexpected token 'x' at position 13"),
        ("SELECT * FROM x WHERE a = ?", "Number of parameters in request and statement don't match."),
        (
            "UPDATE {table} SET a = 1 WHERE id = 'x'",
            "Where clause does not contain a mandatory equality on all key attributes",
        ),
        ('SELECT * FROM {table}."nope"', "The table does not have the specified index: nope"),
        ("SELECT * FROM {table} ORDER BY n", "Must have WHERE clause in the statement when using ORDER BY clause."),
        ("DROP TABLE x", "Statement wasn't well formed, can't be processed: Unexpected token 'DROP' at position 1"),
        ("SELECT * FROM x WHERE " + "(" * 200, "Statement wasn't well formed, can't be processed: it nests too deeply"),
    ],
)
def test_statements_that_are_none_are_refused(tables: Any, music: str, statement: str, message: str) -> None:
    text = statement.replace("{table}", f'"{music}"')
    assert error_of(tables.execute_statement, Statement=text) == invalid(message)


def test_a_batch_of_statements_answers_each_for_itself(tables: Any, music: str) -> None:
    answer = tables.batch_execute_statement(
        Statements=[
            {"Statement": f"SELECT n FROM \"{music}\" WHERE id = 'ada' AND n = 1"},
            {"Statement": f"SELECT n FROM \"{music}\" WHERE id = 'ada'"},
            {"Statement": "SELECT * FROM nope WHERE id = 'x'"},
            {"Statement": f"SELECT n FROM \"{music}\" WHERE id = 'ada' AND n = 99"},
        ]
    )["Responses"]
    assert answer[0] == {"Item": {"n": {"N": "1"}}, "TableName": music}
    assert answer[1]["Error"]["Code"] == "ValidationError"
    assert answer[2]["Error"]["Code"] == "ResourceNotFound"
    assert answer[3] == {"TableName": music}
    answer = tables.batch_execute_statement(
        Statements=[
            {"Statement": f"INSERT INTO \"{music}\" VALUE {{'id': 'ada', 'n': 1}}"},
            {"Statement": f"INSERT INTO \"{music}\" VALUE {{'id': 'ada', 'n': 50}}"},
        ]
    )["Responses"]
    assert [each.get("Error", {}).get("Code") for each in answer] == ["DuplicateItem", None]
    assert ids(run(tables, f"SELECT * FROM \"{music}\" WHERE id = 'ada' AND n > 4")) == ["ada50"]


def test_a_transaction_of_statements_is_all_or_nothing(tables: Any, music: str) -> None:
    insert = {"Statement": f"INSERT INTO \"{music}\" VALUE {{'id': 'tx', 'n': 1}}"}
    exists = {"Statement": f"EXISTS(SELECT * FROM \"{music}\" WHERE id = 'ada' AND n = 1 AND genre = 'g0')"}
    refused = refusal_of(tables.execute_transaction, TransactStatements=[insert, exists])
    assert refused["Error"]["Code"] == "TransactionCanceledException"
    assert [reason["Code"] for reason in refused["CancellationReasons"]] == ["None", "ConditionalCheckFailed"]
    assert run(tables, f"SELECT * FROM \"{music}\" WHERE id = 'tx'") == []
    exists["Statement"] = exists["Statement"].replace("g0", "g1")
    assert tables.execute_transaction(TransactStatements=[insert, exists])["Responses"] == [{}, {}]
    again = refusal_of(tables.execute_transaction, TransactStatements=[insert])
    assert again["CancellationReasons"][0]["Code"] == "DuplicateItem"
    read = tables.execute_transaction(
        TransactStatements=[
            {"Statement": f"SELECT n FROM \"{music}\" WHERE id = 'tx' AND n = 1"},
            {"Statement": f"SELECT n FROM \"{music}\" WHERE id = 'tx' AND n = 2"},
        ]
    )
    assert read["Responses"] == [{"Item": {"n": {"N": "1"}}}, {}]
