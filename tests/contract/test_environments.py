"""What an environment is to a handler, how long it lives, and that nothing of it is left behind."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import orjson
import pytest

from eventrt.core.records import FunctionError, ServiceFault, Succeeded, Throttled
from eventrt.core.recursion import mark_of
from eventrt.invoker.invocation import Invocation
from eventrt.invoker.runtimes.interpreters import Interpreters, NoInterpreter
from eventrt.invoker.runtimes.python import PythonRuntime
from tests.invoking import running_invoker
from tests.running import PATIENCE_S


def without_namespaces(data: Path) -> PythonRuntime:
    return PythonRuntime(data, interpreters=Interpreters(), isolation="none")


ROOT = Path(__file__).parents[2]

MODES = pytest.mark.parametrize("mode", [{}, {"runtime": without_namespaces}], ids=["namespaces", "folders"])


async def test_a_handler_sees_the_context_that_aws_gives(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            """
            def handler(event, context):
                names = ["aws_request_id", "function_name", "function_version", "invoked_function_arn",
                         "memory_limit_in_mb", "log_group_name", "log_stream_name", "client_context", "tenant_id"]
                found = {name: getattr(context, name) for name in names}
                found["identity"] = [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id]
                found["remaining"] = context.get_remaining_time_in_millis()
                context.log("logged ")
                return found
            """,
            timeout_s=300,
            memory_mb=256,
        )
        found = await bench.result(function, request_id="id-1")
        assert 100_000 < found.pop("remaining") <= 300_000
        assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", found.pop("log_stream_name"))
        assert found == {
            "aws_request_id": "id-1",
            "function_name": function.name,
            "function_version": "$LATEST",
            "invoked_function_arn": function.arn,
            "memory_limit_in_mb": "256",
            "log_group_name": f"/aws/lambda/{function.name}",
            "client_context": None,
            "tenant_id": None,
            "identity": [None, None],
        }
        assert "\nlogged \n" in bench.log(function)


async def test_a_handler_gets_awss_variables_and_no_others(tmp_path):
    os.environ["EVENTRT_SECRET_OF_THE_DAEMON"] = "x"
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            "import os\ndef handler(event, context):\n    return dict(os.environ)\n", environment={"MINE": "1"}
        )
        found = await bench.result(function, trace_header="Root=1-2-3;Sampled=1")
        if not has_namespaces(bench):  # where the real paths are
            folder = function.code.folder
            assert Path(found.pop("TMPDIR")).is_relative_to(tmp_path / "data")
            assert (found["LAMBDA_TASK_ROOT"], found["PWD"]) == (folder, folder)
            found |= {"LAMBDA_TASK_ROOT": "/var/task", "PWD": "/var/task"}
    version = f"python3.{sys.version_info[1]}"
    assert found.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    assert found == {
        "AWS_ACCESS_KEY_ID": "000000000000",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{version}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:4566",
        "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "eventrt",
        "AWS_SESSION_TOKEN": "eventrt",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:"
        "/var/task:/var/task/lib:/opt/lib",
        "MINE": "1",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "PWD": "/var/task",
        "PYTHONPATH": "/var/runtime",
        "SHLVL": "0",
        "TZ": ":UTC",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": "app.handler",
        "_X_AMZN_TRACE_ID": f"Root=1-2-3;Sampled=1;Lineage=1:{mark_of(function.arn)}:0",
    }


async def test_a_trace_header_is_made_where_the_caller_sent_none(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("import os\nhandler = lambda event, context: os.environ['_X_AMZN_TRACE_ID']\n")
        header = await bench.result(function)
        began, _, lineage = header.rpartition(";")
        assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", began)
        assert lineage == f"Lineage=1:{mark_of(function.arn)}:0"


@MODES
async def test_a_handler_inherits_no_socket_and_no_file_of_the_daemon(tmp_path, mode):
    async with running_invoker(tmp_path, **mode) as bench:
        function = bench.function("""
            import os
            def handler(event, context):
                fds = {}
                for fd in os.listdir("/proc/self/fd"):
                    try:
                        fds[fd] = os.readlink("/proc/self/fd/" + fd)
                    except OSError:
                        pass
                return fds
        """)
        for _ in range(2):
            found = await bench.result(function)
            assert set(found) == {"0", "1", "2", "3", "4"}
            assert {path.partition(":")[0] for path in found.values()} == {"/dev/null", "pipe"}


async def test_the_file_system_is_awss_and_the_daemons_data_is_out_of_sight(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eventrt.db").write_text("secret")
    (tmp_path / "elsewhere.txt").write_text("on the host")
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            """
            import os
            def handler(event, context):
                try:
                    open("/var/task/new", "w")
                    written = True
                except OSError as error:
                    written = error.strerror
                open("/tmp/mine", "a").write("x")
                seen = os.listdir(event) if os.path.exists(event) else None
                return [os.getcwd(), __file__, sorted(os.listdir("/tmp")), os.stat("/tmp/mine").st_size, written, seen]
            """,
        )
        await bench.result(function, "/")
        needs_namespaces(bench)
        found = await bench.result(function, str(tmp_path / "data"))
        kept = [ROOT.parts[2]] if ROOT.is_relative_to("/tmp") else []  # what runs the handler stays visible
        assert found.pop(2) == sorted(["mine", *kept])
        assert found.pop(4) in (None, [])  # below the host's /tmp it is not there, elsewhere it is empty
        assert found == ["/var/task", "/var/task/app.py", 2, "Read-only file system"]


async def test_ephemeral_storage_is_counted(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            """
            def handler(event, context):
                with open("/tmp/f", "wb") as file:
                    for _ in range(event):
                        file.write(bytes(1 << 20))
                return "fits"
            """,
            ephemeral_storage_mb=512,
            timeout_s=20,
        )
        assert await bench.result(function, 500) == "fits"
        needs_namespaces(bench)  # without them a test of its own tells how it is counted
        outcome = await bench.invoke(function, 520)
        assert isinstance(outcome, FunctionError)
        assert "No space left on device" in outcome.error_message


@MODES
async def test_an_environment_is_reused_and_its_tmp_survives_a_crash(tmp_path, mode):
    async with running_invoker(tmp_path, **mode) as bench:
        function = bench.function("""
            import os, tempfile
            count = 0
            def handler(event, context):
                global count
                count += 1
                path = tempfile.gettempdir() + "/kept"
                open(path, "a").write("x")
                if event:
                    os._exit(1)
                return [count, os.stat(path).st_size]
        """)
        assert await bench.result(function) == [1, 1]
        assert await bench.result(function) == [2, 2]
        await bench.invoke(function, True)
        assert await bench.result(function) == [1, 4]
        assert bench.log(function).count("INIT_START") == 1


async def test_a_changed_configuration_gets_new_environments_and_the_old_ones_end(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("import os\ndef handler(event, context):\n    return os.environ.get('V')\n")
        assert await bench.result(function) is None
        bench.change(function, environment={"V": "2"})
        await anyio.lowlevel.checkpoint()
        assert await bench.result(function) == "2"
        await becomes(lambda: bench.invoker.status()["environments"] == 1)


async def test_a_deleted_function_is_not_found_and_its_environments_end(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("def handler(event, context):\n    return 1\n")
        assert await bench.result(function) == 1
        bench.store.remove(function)
        await becomes(lambda: not (bench.invoker.status()["environments"]))
        outcome = await bench.invoke(function)
        assert isinstance(outcome, ServiceFault)
        assert (outcome.code, outcome.status) == ("ResourceNotFoundException", 404)


async def test_idle_environments_are_retired(tmp_path):
    async with running_invoker(tmp_path, idle_timeout_s=1.0) as bench:
        function = bench.function("def handler(event, context):\n    return 1\n")
        assert await bench.result(function) == 1
        assert bench.invoker.status()["environments"] == 1
        await becomes(lambda: not (bench.invoker.status()["environments"]))
        assert await bench.result(function) == 1


async def test_reserved_concurrency_and_the_account_pool_are_never_exceeded(tmp_path):
    async with running_invoker(tmp_path, account_concurrency=102) as bench:
        slow = bench.function("import time\nhandler = lambda *_: time.sleep(0.5)\n", reserved_concurrency=2)
        none = bench.function("def handler(event, context):\n    return 1\n", reserved_concurrency=0)
        outcomes = []

        async def once():
            outcomes.append(await bench.invoke(slow))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(once)
        assert sum(isinstance(outcome, Succeeded) for outcome in outcomes) == 2
        assert [o.reason for o in outcomes if isinstance(o, Throttled)] == [
            "ReservedFunctionConcurrentInvocationLimitExceeded"
        ] * 2
        outcome = await bench.invoke(none)
        assert isinstance(outcome, Throttled)
        assert isinstance(await bench.invoke(slow), Succeeded)


async def test_invocations_wait_for_room_on_the_machine(tmp_path):
    async with running_invoker(tmp_path, max_environments=2) as bench:
        first = bench.function("def handler(event, context):\n    return event\n")
        second = bench.function("def handler(event, context):\n    return -event\n")
        found = []

        async def once(function, number):
            found.append(await bench.result(function, number))

        async with anyio.create_task_group() as group:
            for number in range(1, 11):
                group.start_soon(once, first if number % 2 else second, number)
        assert sorted(found) == [-10, -8, -6, -4, -2, 1, 3, 5, 7, 9]
        assert bench.invoker.status()["environments"] <= 2


async def test_a_caller_that_goes_away_stops_nothing(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            "import time\ndef handler(event, context):\n    time.sleep(event); print('ran to its end')\n    return 1\n"
        )
        await bench.result(function, 0)
        with anyio.move_on_after(0.05):
            await bench.invoke(function, 1.5)
        assert bench.invoker.status()["running"] == 1
        await becomes(lambda: not (bench.invoker.status()["running"]))
        assert bench.log(function).count("ran to its end") == 2


async def test_a_caller_that_goes_away_before_anybody_else_came_leaves_the_function_followed(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("import os\ndef handler(event, context):\n    return os.environ.get('V')\n")
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await bench.invoke(function)
        assert scope.cancelled_caught
        assert await bench.result(function) is None
        bench.change(function, environment={"V": "2"})
        await anyio.lowlevel.checkpoint()
        assert await bench.result(function) == "2"
        bench.store.remove(function)
        await becomes(lambda: not (bench.invoker.status()["environments"]))


@MODES
async def test_nothing_is_left_of_a_handler_that_timed_out(tmp_path, mode):
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    async with running_invoker(tmp_path, **mode) as bench:
        function = bench.function(
            f"""
            import os, subprocess, sys, time
            def handler(event, context):
                code = "import time; time.sleep(99) # {marker}"
                subprocess.Popen([sys.executable, "-c", code])
                subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.execv(sys.executable, [sys.executable, "-c", code])
                    os._exit(0)
                os.wait()
                time.sleep(99)
            """,
            timeout_s=1,
        )
        outcome = await bench.invoke(function)
        assert outcome.error_type == "Sandbox.Timedout"
        await becomes(lambda: not (processes_with(marker)))


@MODES
async def test_nothing_is_left_when_the_invoker_ends(tmp_path, mode):
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    async with running_invoker(tmp_path, **mode) as bench:
        function = bench.function(f"""
            import os, subprocess, sys, time
            def handler(event, context):
                code = "import time; time.sleep(99) # {marker}"
                subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        """)
        await bench.invoke(function)
        await becomes(lambda: processes_with(marker))
        below = descendants()
        assert below
    assert not processes_with(marker)
    assert not descendants()


async def test_a_stopped_process_is_killed_when_its_time_is_over(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            "import os, signal\ndef handler(event, context):\n    os.kill(os.getpid(), signal.SIGSTOP)\n", timeout_s=1
        )
        outcome = await bench.invoke(function)
        assert outcome.error_type == "Sandbox.Timedout"


async def test_a_killed_zygote_is_replaced(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("def handler(event, context):\n    return 1\n")
        assert await bench.result(function) == 1
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):  # the kernel ends them with the one above
                os.kill(pid, 9)
        await becomes(lambda: not (descendants()))
        assert await bench.result(function) == 1


@pytest.mark.parametrize("minor", range(8, 15))
async def test_every_interpreter_runs_handlers(tmp_path, minor):
    runtime = f"python3.{minor}"
    try:
        Interpreters(strict=True).resolve(runtime)
    except NoInterpreter:
        pytest.skip(f"there is no {runtime} on this machine")
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            """
            import logging, sys
            def handler(event, context):
                logging.getLogger().setLevel("INFO")
                logging.info("said")
                if event == "fail":
                    raise KeyError("ä")
                return [f"python3.{sys.version_info[1]}", "ä"]
            """,
            runtime=runtime,
        )
        outcome = await bench.invoke(function, request_id="id-7")
        assert isinstance(outcome, Succeeded), outcome
        assert orjson.loads(outcome.payload) == [runtime, "ä"]
        assert (b"\\u00e4" in outcome.payload) == (minor < 12)
        assert re.search(r"\[INFO\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\tid-7\tsaid\n", bench.log(function))
        failed = await bench.invoke(function, "fail")
        assert isinstance(failed, FunctionError)
        assert failed.error_type == "KeyError"
        assert orjson.loads(failed.payload)["errorMessage"] == "'ä'"
        assert (b"\\u00e4" in failed.payload) == (minor < 12)


async def test_boto3_is_there_without_being_bundled_and_nothing_else_of_the_daemon(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("""
            import importlib.metadata, importlib.util
            def handler(event, context):
                import boto3
                others = [n for n in ("aiohttp", "anyio", "orjson", "pytest", "eventrt") if importlib.util.find_spec(n)]
                endpoint = boto3.client("sqs").meta.endpoint_url
                return [boto3.__file__, others, endpoint, importlib.metadata.version("boto3")]
        """)
        path, others, endpoint, version = await bench.result(function)
        runtime = "/var/runtime" if has_namespaces(bench) else f"{tmp_path}/data/runtime/python-packages"
        assert path == f"{runtime}/boto3/__init__.py"
        assert others == []
        assert endpoint == "http://127.0.0.1:4566"
        assert version


async def test_a_bundled_module_wins_over_the_runtimes(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            "import boto3, urllib3\nhandler = lambda *_: [boto3.__file__, urllib3.__file__, boto3.mine]\n",
            files={"boto3/__init__.py": "mine = True\n"},
        )
        mine, theirs, is_mine = await bench.result(function)
        assert is_mine
        needs_namespaces(bench)
        assert (mine, theirs) == ("/var/task/boto3/__init__.py", "/var/runtime/urllib3/__init__.py")


async def test_a_package_folder_is_on_the_handlers_path(tmp_path):
    folder = tmp_path / "venv"
    site = folder / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /nowhere\n")
    (site / "extra.py").write_text("value = 7\n")
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            "import extra\nhandler = lambda *_: [extra.value, extra.__file__]\n", packages=str(folder)
        )
        value, file = await bench.result(function)
        assert value == 7
        assert file == ("/var/lang/packages/extra.py" if has_namespaces(bench) else str(site / "extra.py"))


async def test_a_missing_code_folder_is_a_fault_of_the_service(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("")
        import shutil

        shutil.rmtree(function.code.folder)
        outcome = await bench.invoke(function)
        assert isinstance(outcome, ServiceFault)
        assert (outcome.code, outcome.status) == ("ServiceException", 500)
        assert bench.invoker.status()["running"] == 0


async def test_an_unknown_function_is_not_found(tmp_path):
    async with running_invoker(tmp_path) as bench:
        arn = "arn:aws:lambda:us-east-1:000000000000:function:none"
        outcome = await bench.invoker.invoke(Invocation("000000000000", "us-east-1", "none", b"1", "i", arn))
        assert outcome == ServiceFault("ResourceNotFoundException", f"Function not found: {arn}", 404, {"Type": "User"})


async def test_running_invocations_finish_within_the_grace(tmp_path):
    found = []
    async with running_invoker(tmp_path, stop_grace_s=10.0) as bench:
        function = bench.function("import time\ndef handler(event, context):\n    time.sleep(0.4)\n    return 1\n")
        await bench.result(function)

        async def once():
            with anyio.CancelScope(shield=True):
                found.append(await bench.result(function))

        async with anyio.create_task_group() as group:
            group.start_soon(once)
            await anyio.sleep(0.1)
            bench.stop()
    assert found == [1]
    assert not descendants()


async def test_the_log_holds_what_was_printed_between_start_and_end(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("""
            import os, subprocess, sys
            def handler(event, context):
                print("out")
                print("err", file=sys.stderr)
                subprocess.run(["echo", "child"])
                sys.stdout.write("no newline")
        """)
        await bench.invoke(function, request_id="id-1")
        lines = bench.log(function).splitlines()
        assert lines[1:7] == [
            "START RequestId: id-1 Version: $LATEST",
            "out",
            "err",
            "child",
            "no newline",
            "END RequestId: id-1",
        ]
        assert re.fullmatch(
            r"REPORT RequestId: id-1\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
            r"Max Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t",
            lines[7],
        )


def has_namespaces(bench) -> bool:
    """Are environments isolated on this machine? Known once one has run."""
    return bench.invoker.status()["isolation"] != "none"


def needs_namespaces(bench) -> None:
    """Skip the rest where namespaces are refused, as in most containers."""
    if not has_namespaces(bench):
        pytest.skip("namespaces are refused on this machine")


async def becomes(condition) -> None:
    """Return once the machine (not the daemon's clock) has come so far."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - processes elsewhere ring no bell
            await anyio.sleep(0.01)


def compiled_below(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.rglob("*.pyc")}


def processes_with(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def descendants() -> list[int]:
    """The processes below this one, apart from the daemon that wire tests of the same session may have running."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"\0eventrt\0serve\0" not in (entry / "cmdline").read_bytes():
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, frontier = [], [os.getpid()]
    while frontier:
        above = frontier.pop()
        below = [pid for pid, parent in parents.items() if parent == above]
        found += below
        frontier += below
    return found


async def test_many_threads_fit_into_a_small_function(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("""
            import concurrent.futures, threading
            def handler(event, context):
                barrier = threading.Barrier(24)
                with concurrent.futures.ThreadPoolExecutor(24) as pool:
                    return sum(pool.map(lambda n: barrier.wait() * 0 + n, range(24)))
        """)
        assert await bench.result(function) == sum(range(24))


async def test_a_wrapper_script_starts_the_interpreter_its_own_way(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function(
            """
            import os, sys
            def handler(event, context):
                return [os.environ["ADDED"], sys.flags.optimize, sys.path[0], context.function_name, event]
            """,
            files={"wrap": '#!/bin/sh\nexport ADDED=here\nexec "$1" -O "$2" "$3" "$4"\n'},
            environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"},
        )
        (Path(function.code.folder) / "wrap").chmod(0o755)
        found = await bench.result(function, 5)
        task = "/var/task" if has_namespaces(bench) else function.code.folder
        assert found == ["here", 1, task, function.name, 5]
        missing = bench.function("", environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/none"})
        outcome = await bench.invoke(missing)
        assert outcome.error_type == "Runtime.ExitError"
        task = "/var/task" if has_namespaces(bench) else missing.code.folder
        assert f"AWS_LAMBDA_EXEC_WRAPPER: {task}/none: No such file or directory" in bench.log(missing)


async def test_storage_is_counted_where_there_are_no_namespaces(tmp_path):
    async with running_invoker(tmp_path, runtime=without_namespaces) as bench:
        function = bench.function(
            """
            import os
            def handler(event, context):
                for number in range(event):
                    with open(os.environ["TMPDIR"] + f"/{number}", "wb") as file:
                        file.truncate(200 << 20)
                return "fits"
            """
        )
        assert await bench.result(function, 2) == "fits"
        outcome = await bench.invoke(function, 3)
        assert isinstance(outcome, FunctionError)
        assert (outcome.error_type, "No space left on device" in outcome.error_message) == ("OSError", True)


async def test_an_answer_cut_off_by_a_stop_is_a_fault_of_the_service_not_of_the_function(tmp_path):
    found = []
    async with running_invoker(tmp_path, stop_grace_s=0.1) as bench:
        function = bench.function("import time\ndef handler(event, context):\n    time.sleep(event)\n", timeout_s=60)
        await bench.result(function, 0)

        async def once():
            with anyio.CancelScope(shield=True):
                found.append(await bench.invoke(function, 60))

        async with anyio.create_task_group() as group:
            group.start_soon(once)
            await anyio.sleep(0.1)
            bench.stop()
    assert isinstance(found[0], ServiceFault)
    assert found[0].code == "ServiceException"


async def test_compiled_modules_are_kept_from_one_environment_to_the_next(tmp_path):
    async with running_invoker(tmp_path) as bench:
        function = bench.function("import helper\nhandler = lambda *_: helper.n\n", files={"helper.py": "n = 1\n"})
        assert await bench.result(function) == 1
        assert compiled_below(tmp_path / "data" / "runtime" / "bytecode") == {"app", "helper"}
        assert not compiled_below(Path(function.code.folder))
        bench.change(function)
        await anyio.lowlevel.checkpoint()
        assert await bench.result(function) == 1


async def test_what_cannot_be_prepared_costs_the_daemon_nothing_and_its_callers_an_answer(tmp_path):
    in_the_way = tmp_path / "data" / "runtime"
    async with running_invoker(tmp_path) as bench:
        function = bench.function("def handler(event, context): return 1")
        assert await bench.result(function) == 1
    shutil.rmtree(in_the_way)
    in_the_way.write_text("no folder")
    async with running_invoker(tmp_path) as bench:
        function = bench.function("def handler(event, context): return 1")
        outcome = await bench.invoke(function)
        assert isinstance(outcome, ServiceFault), outcome
        in_the_way.unlink()
        assert await bench.result(function) == 1
