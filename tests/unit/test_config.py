"""Settings: where they come from, who wins, and how each mistake is shown at its place."""

import tomllib
from pathlib import Path

import pytest

from eventrt.config import WrongConfiguration, load
from eventrt.config.check import check
from eventrt.config.positions import Positions
from eventrt.config.settings import every_setting


@pytest.fixture
def written(tmp_path: Path):
    """Write a configuration file beside a folder of code, and return its path."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text("def handler(event, context):\n    return 1\n")

    def write(text: str) -> Path:
        file = tmp_path / "eventrt.toml"
        file.write_text(text)
        return file

    return write


def mistakes_in(file: Path, environment: dict[str, str] | None = None) -> list[str]:
    """What is wrong with a file, each without the file's folder."""
    with pytest.raises(WrongConfiguration) as caught:
        load(file, environment=environment or {})
    return [str(mistake).replace(f"{file.parent}/", "") for mistake in caught.value.mistakes]


# -- where settings come from


def test_without_a_file_there_are_defaults() -> None:
    settings = load(None, environment={})
    assert settings.server.host == "127.0.0.1"
    assert settings.server.port == 4566
    assert settings.store.durability == "power"
    assert settings.declared.queues == ()


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(written) -> None:
    file = written('[server]\nport = 1\nhost = "127.0.0.2"\n[store]\ndurability = "process"\n')
    settings = load(file, environment={"EVENTRT_PORT": "2", "EVENTRT_HOST": "127.0.0.3"}, overrides={"server.port": 3})
    assert (settings.server.port, settings.server.host) == (3, "127.0.0.3")
    assert settings.store.durability == "process"


@pytest.mark.parametrize("setting", every_setting(), ids=lambda setting: setting.full_name)
def test_every_setting_is_an_environment_variable(setting) -> None:
    texts = {
        "server.host": "::1",
        "server.allowed_hosts": "a.test, .b.test",
        "store.data_dir": "/elsewhere",
        "auth.mode": "none",
        "auth.keys": "KEY=SECRET",
        "runtime.interpreters": "python3.12=/opt/python, python3.13=/other",
        "runtime.packages": "/packages",
    }
    expected = {
        "server.allowed_hosts": ("a.test", ".b.test"),
        "runtime.interpreters": {"python3.12": "/opt/python", "python3.13": "/other"},
    }
    text = texts.get(setting.full_name)
    if text is None:
        words = setting.expects
        text = words.split('"')[-2] if words.startswith("one of") else "true" if "true" in words else "60"
        if setting.name in ("account_concurrency", "function_bytes"):
            text = "100000"
    settings = load(None, environment={setting.variable: text})
    section = getattr(settings, "lambda_" if setting.section == "lambda" else setting.section)
    value = getattr(section, setting.name)
    if setting.full_name == "auth.keys":
        assert [(key.access_key, key.secret_key) for key in value] == [("KEY", "SECRET")]
    elif setting.full_name in expected:
        assert value == expected[setting.full_name]
    else:
        assert str(value).lower() in (text, f"{text}.0")


def test_several_keys_come_in_one_variable() -> None:
    settings = load(None, environment={"EVENTRT_AUTH_KEYS": "A=1,B=2=3", "EVENTRT_AUTH_MODE": "sigv4"})
    assert [(key.access_key, key.secret_key) for key in settings.auth.keys] == [("A", "1"), ("B", "2=3")]


def test_a_variable_that_does_not_fit_is_named() -> None:
    with pytest.raises(WrongConfiguration) as caught:
        load(None, environment={"EVENTRT_PORT": "many", "EVENTRT_STORE_DURABILITY": "proces"})
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        'EVENTRT_PORT: must be an integer from 0 to 65535, not "many"',
        'EVENTRT_STORE_DURABILITY: must be one of "power", "process", not "proces" (did you mean "process"?)',
    ]


def test_an_unknown_variable_is_told_and_stops_nothing(written) -> None:
    outcome = check(written(""), environment={"EVENTRT_STORE_DURABILTY": "process"})
    assert [str(mistake) for mistake in outcome.mistakes] == [
        'EVENTRT_STORE_DURABILTY: warning: there is no such setting (did you mean "EVENTRT_STORE_DURABILITY"?)'
    ]


# -- mistakes


def test_all_mistakes_are_shown_at_once_each_at_its_place(written) -> None:
    file = written('[server]\nprot = 1\nhost = 7\n\n[sotre]\ndata_dir = "x"\n\n[auth]\nmode = "sigv5"\n')
    assert mistakes_in(file) == [
        'eventrt.toml:2:1: server has no setting "prot" (did you mean "port"?)',
        "eventrt.toml:3:8: server.host must be a text, not 7",
        'eventrt.toml:5:1: there is no section "sotre" (did you mean "store"?)',
        'eventrt.toml:9:8: auth.mode must be one of "none", "sigv4", not "sigv5" (did you mean "sigv4"?)',
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[server]\nport = 70000\n", "2:8: server.port must be an integer from 0 to 65535, not 70000"),
        ("[server]\nport = true\n", "2:8: server.port must be an integer from 0 to 65535, not true"),
        ("[server]\nport = 1.5\n", "2:8: server.port must be an integer from 0 to 65535, not 1.5"),
        (
            "[server]\nidle_timeout_s = nan\n",
            "2:18: server.idle_timeout_s must be a number above 0, up to 3600, not nan",
        ),
        ("[server]\nidle_timeout_s = 0\n", "2:18: server.idle_timeout_s must be a number above 0, up to 3600, not 0"),
        ("[clock]\ncontrollable = 1\n", "2:16: clock.controllable must be true or false, not 1"),
        ("server = 1\n", "1:10: server must be a table (write [server])"),
        ("queues = 1\n", "1:10: queues must be a list of tables (write [[queues]] above each)"),
        ("[queues]\nname = 'q'\n", "1:1: queues must be a list of tables (write [[queues]] above each)"),
        ("[store]\ndata_dir = ''\n", '2:12: store.data_dir must be a text that is not empty, not ""'),
        ("[auth]\nmode = 'sigv4'\n", '2:8: auth.mode is "sigv4" and there is no key'),
        ("[[auth.keys]]\naccess_key = 'a'\n", "1:1: auth.keys needs secret_key"),
        ("a = \n", "1:5: is not TOML: Invalid value"),
        ("[[queues]]\n", "1:1: queues needs name"),
        ("[[queues]]\nname = 'a b'\n", "2:8: queues.name must be a text that matches"),
        ("[[queues]]\nname = 'q'\ndelay_s = 901\n", "3:11: queues.delay_s must be an integer from 0 to 900, not 901"),
        ("[[queues]]\nname = 'q'\nmax_receive_count = 0\ndead_letter_queue = 'q'\n", "3:21: queues.max_receive_count"),
        ("[[queues]]\nname = 'q'\nmax_receive_count = 3\n", "3:21: queues.max_receive_count needs queues.dead_letter"),
        ("[[queues]]\nname = 'q'\n[[queues]]\nname = 'q'\n", "4:8: q is declared twice (see line 1)"),
        ("[[queues]]\nname = 'q'\ncontent_based_deduplication = true\n", "3:31: queues.content_based_deduplication is"),
        (
            "[[queues]]\nname = 'q.fifo'\nfifo_throughput_limit = 'perMessageGroupId'\n",
            "1:1: the queue q.fifo: Invalid value for the parameter FifoThroughputLimit.",
        ),
        (
            (
                "[[queues]]\nname = 'jobs'\ndead_letter_queue = 'jobs-daed'\nmax_receive_count = 3\n"
                "[[queues]]\nname = 'jobs-dead'\n"
            ),
            '3:21: no queue "jobs-daed" is declared (did you mean "jobs-dead"?)',
        ),
        (
            "[[queues]]\nname = 'q.fifo'\ndead_letter_queue = 'd'\nmax_receive_count = 3\n[[queues]]\nname = 'd'\n",
            "3:21: ",
        ),
    ],
)
def test_a_mistake_is_shown_at_its_place(written, text: str, mistake: str) -> None:
    found = mistakes_in(written(text))
    assert len(found) == 1
    assert found[0].startswith(f"eventrt.toml:{mistake}")


FUNCTION = "[[functions]]\nname = 'f'\nhandler = 'app.handler'\ncode = 'code'\n"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (FUNCTION.replace("'code'", "'cod'"), '4:8: the folder DIR/cod does not exist (did you mean "code"?)'),
        (FUNCTION.replace("app.handler", "appp.handler"), "3:11: there is no DIR/code/appp.py for the handler appp.ha"),
        (FUNCTION.replace("app.handler", "handler"), '3:11: functions.handler must be "module.function"'),
        (FUNCTION + "runtime = 'python3.1'\n", '5:11: the runtime "python3.1" is not served here'),
        (FUNCTION + "runtime = 'nodejs20.x'\n", '5:11: the runtime "nodejs20.x" is not served here'),
        (FUNCTION + "timeout_s = 901\n", "5:13: functions.timeout_s must be an integer from 1 to 900, not 901"),
        (FUNCTION + "role = 'me'\n", '5:8: functions.role must be the ARN of a role, not "me"'),
        (FUNCTION + "environment = { A = 1 }\n", "5:15: functions.environment must be a table of texts"),
        (FUNCTION + "environment = { AWS_REGION = 'x' }\n", "5:15: Lambda was unable to configure your environment"),
        (FUNCTION + "reserved_concurrency = 901\n", "5:24: Specified ReservedConcurrentExecutions for function"),
        (FUNCTION + "packages = 'none'\n", "5:12: the folder DIR/none does not exist"),
        (FUNCTION + FUNCTION, "6:8: f is declared twice (see line 1)"),
        ("[[mappings]]\nqueue = 'q'\nfunction = 'f'\n" + FUNCTION, '2:9: no queue "q" is declared'),
        (
            FUNCTION + "[[queues]]\nname = 'q'\n[[mappings]]\nqueue = 'q'\nfunction = 'g'\n",
            '9:12: no function "g" is declared',
        ),
        (
            FUNCTION + "timeout_s = 60\n[[queues]]\nname = 'q'\n[[mappings]]\nqueue = 'q'\nfunction = 'f'\n",
            "8:1: the mapping q → f: Queue visibility timeout: 30 seconds is less than Function timeout: 60 seconds",
        ),
        (
            FUNCTION
            + "[[queues]]\nname = 'q'\n[[mappings]]\nqueue = 'q'\nfunction = 'f'\nfilters = [{ body = { a = 1 } }]\n",
            "7:1: the mapping q → f: Invalid filter pattern definition.",
        ),
        (
            FUNCTION + "[[queues]]\nname = 'q'\n[[mappings]]\nqueue = 'q'\nfunction = 'f'\nbatch_size = 11\n",
            "7:1: the mapping q → f: Maximum batch window in seconds must be greater than 0",
        ),
    ],
)
def test_declared_things_are_held_against_the_disk_and_each_other(written, text: str, mistake: str) -> None:
    file = written(text)
    found = mistakes_in(file)
    assert len(found) == 1
    expected = "eventrt.toml:" + mistake.replace("DIR/", "")
    assert found[0].startswith(expected)


def test_a_mistake_in_a_thing_hides_no_other_of_it(written) -> None:
    file = written(
        "[[functions]]\nname = 'f'\ntimeout_s = 901\ncode = 'cod'\nruntime = 'nodejs20.x'\n"
        "[[queues]]\nname = 'q'\ndelay_s = 901\ndead_letter_queue = 'none'\nmax_receive_count = 1\n"
        "[[mappings]]\nqueue = 'q'\nfunction = 'f'\nbatch_size = 0\non_failure_queue = 'gone'\n"
    )
    assert [text.partition(" (")[0].partition("; ")[0] for text in mistakes_in(file)] == [
        "eventrt.toml:1:1: functions needs handler",
        "eventrt.toml:3:13: functions.timeout_s must be an integer from 1 to 900, not 901",
        "eventrt.toml:4:8: the folder cod does not exist",
        'eventrt.toml:5:11: the runtime "nodejs20.x" is not served here',
        "eventrt.toml:8:11: queues.delay_s must be an integer from 0 to 900, not 901",
        'eventrt.toml:9:21: no queue "none" is declared',
        "eventrt.toml:14:14: mappings.batch_size must be an integer from 1 to 10000, not 0",
        'eventrt.toml:15:20: no queue "gone" is declared',
    ]


def test_a_thing_with_a_mistake_is_still_there_for_those_that_name_it(written) -> None:
    file = written(
        FUNCTION + "memory_mb = 1\n[[queues]]\nname = 'q'\n[[mappings]]\nqueue = 'q'\nfunction = 'f'\nbatch_size = 5\n"
    )
    assert mistakes_in(file) == [
        "eventrt.toml:5:13: functions.memory_mb must be an integer from 128 to 10240, not 1",
    ]


def test_whom_a_notification_tells_should_be_there(written) -> None:
    file = written(
        FUNCTION + "[[buckets]]\nname = 'pics'\n"
        "[[notifications]]\nbucket = 'pics'\nfunction = 'g'\n"
        "[[notifications]]\nbucket = 'pics'\nqueue = 'arn:aws:sqs:us-east-1:000000000000:by-hand'\nprefix = 'x'\n"
    )
    outcome = check(file, environment={})
    assert [(mistake.line, mistake.is_warning) for mistake in outcome.mistakes] == [(9, True)]
    assert outcome.mistakes[0].message == 'no function "g" is declared; it has to be there when the daemon starts'


def test_a_missing_interpreter_is_told_beside_other_mistakes(written) -> None:
    file = written(FUNCTION.replace("'code'", "'cod'") + "timeout_s = 0\n")
    outcome = check(file, environment={}, find_interpreter=lambda runtime, settings: (None, False))
    assert [mistake.line for mistake in outcome.mistakes] == [1, 4, 5]
    assert "there is no interpreter for python3.12" in outcome.mistakes[0].message


def test_things_made_through_the_api_are_named_by_arn(written) -> None:
    file = written(
        FUNCTION
        + "[[mappings]]\nqueue = 'arn:aws:sqs:us-east-1:000000000000:by-hand'\nfunction = 'f'\nbatch_size = 5\n"
    )
    assert len(load(file, environment={}).declared.mappings) == 1


def test_a_handler_that_is_not_seen_in_its_file_is_a_warning(written) -> None:
    outcome = check(written(FUNCTION.replace("app.handler", "app.handlr")), environment={})
    assert [(mistake.line, mistake.hint, mistake.is_warning) for mistake in outcome.mistakes] == [
        (3, 'did you mean "handler"?', True)
    ]


def test_a_file_that_is_no_toml_is_not_readable(written, tmp_path: Path) -> None:
    assert not check(written("[[["), environment={}).is_readable
    assert not check(tmp_path / "none.toml", environment={}).is_readable
    file = written("")
    file.write_bytes(b"[server]\nhost = '\xff'\n")
    assert [(m.line, m.column) for m in check(file, environment={}).mistakes] == [(2, 9)]


def test_a_stand_in_interpreter_is_a_warning_and_none_a_mistake(written) -> None:
    file = written(FUNCTION)
    outcome = check(file, environment={}, find_interpreter=lambda runtime, settings: ("python3.9", False))
    assert [mistake.is_warning for mistake in outcome.mistakes] == [True]
    assert "it would run on python3.9" in outcome.mistakes[0].hint
    outcome = check(file, environment={}, find_interpreter=lambda runtime, settings: (None, False))
    assert [mistake.is_warning for mistake in outcome.mistakes] == [False]
    strict = {"EVENTRT_RUNTIME_STRICT": "true"}
    outcome = check(file, environment=strict, find_interpreter=lambda runtime, settings: ("python3.9", False))
    assert [mistake.is_warning for mistake in outcome.mistakes] == [False]


# -- positions

DOCUMENT = '''\
# a comment with [brackets] and "quotes"
title = "a \\"quoted\\" # text"   # and a comment
"quoted key" = 1
a.b.'c' = { x = 1, y = [1, 2], "z" = { w = true } }

[table]   # a header
text = """
[not.a.header]
key = 1
"""
when = 2024-01-01 10:00:00
list = [
    "one", # first
    'two',
    [3, 4],
]

[[things]]
name = "first"

[things.inner]
deep = 1

[[things]]
name = \'\'\'raw\'\'\'
'''


def test_every_key_and_value_is_found_where_it_stands() -> None:
    positions = Positions(DOCUMENT)
    lines = DOCUMENT.split("\n")

    def text_at(place: tuple[int, int]) -> str:
        return lines[place[0] - 1][place[1] - 1 :]

    assert text_at(positions.of_value(("title",))).startswith('"a \\"')
    assert text_at(positions.of_key(("quoted key",))).startswith('"quoted key"')
    assert text_at(positions.of_value(("a", "b", "c", "x"))).startswith("1, y")
    assert text_at(positions.of_value(("a", "b", "c", "z", "w"))).startswith("true")
    assert text_at(positions.of_value(("a", "b", "c", "y", 1))).startswith("2]")
    assert positions.of_key(("table",)) == (6, 1)
    assert text_at(positions.of_value(("table", "when"))).startswith("2024")
    assert text_at(positions.of_value(("table", "list", 1))).startswith("'two'")
    assert text_at(positions.of_value(("table", "list", 2, 0))).startswith("3")
    assert text_at(positions.of_value(("things", 0, "name"))).startswith('"first"')
    assert text_at(positions.of_value(("things", 0, "inner", "deep"))).startswith("1")
    assert text_at(positions.of_value(("things", 1, "name"))).startswith("'''raw'''")
    assert positions.of_value(("things", 1, "missing")) == positions.of_key(("things", 1))


def test_every_path_of_a_document_has_a_place() -> None:
    positions = Positions(DOCUMENT)

    def visit(value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                assert (*path, key) in positions.keys
                visit(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                assert (*path, index) in positions.keys
                visit(inner, (*path, index))

    document = tomllib.loads(DOCUMENT)
    document["a"] = {}  # dotted keys: only the whole key has a place
    visit(document, ())
