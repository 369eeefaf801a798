"""Error documents, exit shapes and results of handlers, as AWS answers them."""

import re

import orjson
import pytest

from eventrt.core.records import FunctionError, Succeeded
from tests.invoking import running_invoker

UUID = "6bc28136-xmpl-4365-b021-0ce6b2e64ab0"


async def failed(bench, function, event=None, **more):
    outcome = await bench.invoke(function, event, request_id=UUID, **more)
    assert isinstance(outcome, FunctionError), outcome
    return outcome, orjson.loads(outcome.payload)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


async def test_a_raised_exception_is_reported_with_its_class_and_frames_under_var_task(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("""
            class Odd(Exception):
                pass

            def inner(event):
                raise Odd(f"no {event['what']}")

            def handler(event, context):
                inner(event)
        """)
        outcome, document = await failed(bench, function, {"what": "luck"})
        assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
        assert document == {
            "errorMessage": "no luck",
            "errorType": "Odd",
            "requestId": UUID,
            "stackTrace": [
                '  File "/var/task/app.py", line 9, in handler\n    inner(event)\n',
                '  File "/var/task/app.py", line 6, in inner\n    raise Odd(f"no {event[\'what\']}")\n',
            ],
        }
        assert (outcome.error_type, outcome.error_message, outcome.kind) == ("Odd", "no luck", "Unhandled")
        log = bench.log(function)
        assert '[ERROR] Odd: no luck\nTraceback (most recent call last):\n\u00a0\u00a0File "/var/task' in log


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        (
            "nosuch.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'nosuch': No module named 'nosuch'",
        ),
        ("app.missing", "Runtime.HandlerNotFound", "Handler 'missing' missing on module 'app'"),
        (
            "app",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
        ),
        ("sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
    ],
)
async def test_a_handler_that_cannot_be_found_is_named(folder, handler, error_type, message):
    async with running_invoker(folder) as bench:
        function = bench.function("", handler=handler)
        _, document = await failed(bench, function)
        assert document == {"errorMessage": message, "errorType": error_type, "requestId": UUID, "stackTrace": []}


async def test_a_syntax_error_names_file_and_line(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("x = 1\ndef handler(:\n")
        _, document = await failed(bench, function)
        assert document["errorType"] == "Runtime.UserCodeSyntaxError"
        assert document["errorMessage"].startswith("Syntax error in module 'app': invalid syntax (app.py, line 2)")
        assert document["stackTrace"] == ['  File "/var/task/app.py" Line 2\n    def handler(:\n']


async def test_a_module_that_raises_keeps_an_empty_request_id_and_is_tried_twice(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("print('loading')\nraise ValueError('at import')\n")
        _, document = await failed(bench, function)
        assert (document["errorType"], document["errorMessage"]) == ("ValueError", "at import")
        assert document["requestId"] == ""
        assert document["stackTrace"][-1].startswith('  File "/var/task/app.py", line 2, in <module>\n')
        log = bench.log(function)
        assert log.count("loading") == 2
        assert "INIT_REPORT Init Duration: " in log
        assert "\tPhase: init\tStatus: error\tError Type: ValueError" in log


async def test_a_module_that_loads_at_the_second_try_serves_the_invocation(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("""
            import os
            if not os.path.exists("/tmp/tried"):
                open("/tmp/tried", "w").close()
                raise RuntimeError("not yet")

            def handler(event, context):
                return "now"
        """)
        assert await bench.result(function) == "now"


@pytest.mark.parametrize(
    ("statement", "how"),
    [
        ("sys.exit()", "Runtime exited without providing a reason"),
        ("sys.exit(3)", "Runtime exited with error: exit status 3"),
        ("sys.exit('so')", "Runtime exited with error: exit status 1"),
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(7)", "Runtime exited with error: exit status 7"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
        ("os.abort()", "Runtime exited with error: signal: aborted"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
async def test_a_process_that_ends_is_reported_by_how_it_ended(folder, statement, how):
    async with running_invoker(folder) as bench:
        source = f"import os, sys\ndef handler(event, context):\n    if event: {statement}\n    return 1\n"
        function = bench.function(source)
        _, document = await failed(bench, function, True)
        assert document == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {UUID} Error: {how}"}
        assert list(document) == ["errorType", "errorMessage"]
        assert await bench.result(function, False) == 1
        assert "Status: error\tError Type: Runtime.ExitError" in bench.log(function)


async def test_a_process_that_ends_while_it_loads_is_reported(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("import os\nos._exit(5)\n")
        _, document = await failed(bench, function)
        assert document["errorMessage"] == f"RequestId: {UUID} Error: Runtime exited with error: exit status 5"


async def test_memory_that_runs_out_kills_the_process(folder):
    async with running_invoker(folder) as bench:
        function = bench.function(
            "def handler(event, context):\n    data = bytearray(event << 20)\n    return len(data)\n", memory_mb=128
        )
        assert await bench.result(function, 64) == 64 << 20
        for megabytes in (128, 400):  # more than is left beside the interpreter; more than there is at all
            _, document = await failed(bench, function, megabytes)
            how = f"RequestId: {UUID} Error: Runtime exited with error: signal: killed"
            assert document == {"errorType": "Runtime.OutOfMemory", "errorMessage": how}
            assert await bench.result(function, 1) == 1 << 20
        log = bench.log(function)
        assert log.count("Max Memory Used: 128 MB\tStatus: error\tError Type: Runtime.OutOfMemory") >= 1
        used = [int(megabytes) for megabytes in re.findall(r"Max Memory Used: (\d+) MB", log)]
        assert len(used) == 5
        assert max(used) <= 128


async def test_memory_that_runs_out_while_loading_kills_the_process(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("data = bytearray(400 << 20)\n", memory_mb=128)
        _, document = await failed(bench, function)
        assert document["errorType"] == "Runtime.OutOfMemory"
        assert document["errorMessage"].endswith("signal: killed")


async def test_a_process_that_kills_itself_has_not_run_out_of_memory(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("import os\ndef handler(event, context):\n    os.kill(os.getpid(), 9)\n")
        _, document = await failed(bench, function)
        assert document["errorType"] == "Runtime.ExitError"


@pytest.mark.parametrize(
    ("expression", "payload"),
    [
        ("None", b"null"),
        ("{'a': [1, 2.5, 'x']}", b'{"a": [1, 2.5, "x"]}'),
        ("float('nan')", b"NaN"),
        ("decimal.Decimal('5')", b"5"),
        ("decimal.Decimal('1.25')", b"1.25"),
        ("[decimal.Decimal('0.1234567890123456789012345678901234567')]", b"[0.1234567890123456789012345678901234567]"),
        ("b'raw'", b"raw"),
        ("{1: 2}", b'{"1": 2}'),
    ],
)
async def test_results_are_encoded_as_aws_does(folder, expression, payload):
    async with running_invoker(folder) as bench:
        function = bench.function(f"import decimal\ndef handler(event, context):\n    return {expression}\n")
        outcome = await bench.invoke(function)
        assert isinstance(outcome, Succeeded)
        assert outcome.payload == payload


async def test_a_result_that_is_no_json_is_a_marshal_error(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("def handler(event, context):\n    return {'a': {1, 2}}\n")
        _, document = await failed(bench, function)
        assert document == {
            "errorMessage": "Unable to marshal response: Object of type set is not JSON serializable",
            "errorType": "Runtime.MarshalError",
            "requestId": UUID,
            "stackTrace": [],
        }


async def test_a_result_beyond_the_limit_is_refused_and_the_environment_goes_on(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("def handler(event, context):\n    return 'x' * event\n")
        outcome = await bench.invoke(function, 6291556 - 2)
        assert isinstance(outcome, Succeeded)
        assert len(outcome.payload) == 6291556
        _, document = await failed(bench, function, 6291556 - 1)
        assert document == {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        }
        assert await bench.result(function, 1) == "x"


async def test_large_events_arrive_whole(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("def handler(event, context):\n    return [len(event), event[-3:]]\n")
        assert await bench.result(function, "ä" * 3_000_000 + "end") == [3_000_003, "end"]


async def test_a_timeout_kills_and_says_so(folder):
    async with running_invoker(folder) as bench:
        function = bench.function(
            "import time\ndef handler(event, context):\n    print('in'); time.sleep(event)\n    return 'out'\n",
            timeout_s=1,
        )
        outcome, document = await failed(bench, function, 30, wants_log_tail=True)
        assert document == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {UUID} Error: Task timed out after 1.00 seconds",
        }
        tail = outcome.log_tail.decode()
        assert re.search(rf"in\n\S+Z {UUID} Task timed out after 1.00 seconds\n\nEND RequestId: {UUID}\nREPORT", tail)
        assert "Status: timeout" in tail
        assert await bench.result(function, 0) == "out"


async def test_a_module_that_never_loads_times_out_with_the_function(folder):
    async with running_invoker(folder) as bench:
        import eventrt.invoker.environments as environments

        function = bench.function("import time\ntime.sleep(60)\n", timeout_s=1)
        limit, environments.INIT_LIMIT_S = environments.INIT_LIMIT_S, 0.3
        try:
            _, document = await failed(bench, function)
        finally:
            environments.INIT_LIMIT_S = limit
        assert document["errorType"] == "Sandbox.Timedout"
        assert "\tPhase: init\tStatus: timeout" in bench.log(function)


async def test_a_client_context_that_is_no_object_is_refused(folder):
    async with running_invoker(folder) as bench:
        function = bench.function("def handler(event, context):\n    return context.client_context.custom\n")
        assert await bench.result(function, client_context=b'{"custom": {"a": 1}}') == {"a": 1}
        _, document = await failed(bench, function, client_context=b"[]")
        assert document["errorType"] == "Runtime.LambdaContextUnmarshalError"
        assert document["errorMessage"].startswith("Unable to parse Client Context JSON: ")
