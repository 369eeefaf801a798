"""Which interpreter serves which Runtime."""

import os
import stat
import sys
from pathlib import Path

import pytest

from eventrt.invoker.runtimes.interpreters import Interpreters, NoInterpreter

OWN = f"python3.{sys.version_info[1]}"
REAL = os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def fake(path: Path, version: str, *, code: int = 0) -> Path:
    """Make a program that answers the probe as a Python of that version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = version.replace(".", " ")
    path.write_text(f"#!/bin/sh\necho {path}\necho {path.parent.parent}\necho {words}\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def nowhere(tmp_path, **more):
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), **more}


def test_the_daemons_own_version_is_its_own_base_interpreter(tmp_path):
    found = Interpreters(environment=nowhere(tmp_path)).resolve(OWN)
    assert (found.path, found.name, found.exact) == (REAL, OWN, True)


def test_a_virtual_environment_is_followed_to_where_it_came_from():
    found = Interpreters().probe(sys.executable)
    assert found is not None
    assert found.path == REAL
    assert not os.path.exists(os.path.join(found.prefix, "pyvenv.cfg"))


@pytest.mark.parametrize(
    "place",
    [
        "bin/python3.14",
        ".pyenv/versions/3.14.2/bin/python3.14",
        ".local/share/uv/python/cpython-3.14.0-l/bin/python3.14",
    ],
)
def test_path_pyenv_and_uv_are_looked_through(tmp_path, place):
    path = fake(tmp_path / place, "3.14.2")
    found = Interpreters(environment=nowhere(tmp_path)).resolve("python3.14")
    assert (found.path, found.version, found.exact) == (str(path), (3, 14, 2), True)


def test_what_does_not_run_is_passed_over(tmp_path):
    fake(tmp_path / "bin/python3.14", "3.14.2", code=1)
    fake(tmp_path / "shims/python3.14", "3.14.2", code=127)
    good = fake(tmp_path / ".pyenv/versions/3.14.1/bin/python3.14", "3.14.1")
    environment = nowhere(tmp_path, PATH=f"{tmp_path}/shims:{tmp_path}/bin")
    assert Interpreters(environment=environment).resolve("python3.14").path == str(good)


def test_a_program_that_lies_about_its_name_is_passed_over(tmp_path):
    fake(tmp_path / "bin/python3.14", "3.9.1")
    found = Interpreters(environment=nowhere(tmp_path)).resolve("python3.14")
    assert not found.exact


def test_the_nearest_stands_in_and_says_so(tmp_path):
    interpreters = Interpreters(environment=nowhere(tmp_path))
    found = interpreters.resolve("python3.14")
    assert not found.exact
    assert found.path == REAL
    remark = interpreters.remark("python3.14")
    assert remark is not None
    assert remark.startswith("There is no python3.14 on this machine; Python ")
    assert interpreters.remark(OWN) is None


def test_strict_refuses_what_is_not_there(tmp_path):
    with pytest.raises(NoInterpreter, match=r"there is no python3.14 on this machine and runtime.strict is set"):
        Interpreters(strict=True, environment=nowhere(tmp_path)).resolve("python3.14")


def test_a_configured_interpreter_wins_and_must_run(tmp_path):
    path = fake(tmp_path / "mine", "3.12.9")
    assert Interpreters({"python3.12": str(path)}).resolve("python3.12").path == str(path)
    assert not Interpreters({"python3.13": str(path)}).resolve("python3.13").exact
    with pytest.raises(NoInterpreter, match="is no Python that runs"):
        Interpreters({"python3.12": str(tmp_path / "none")}).resolve("python3.12")
    with pytest.raises(NoInterpreter, match=r"is python3.12, and runtime.strict is set"):
        Interpreters({"python3.13": str(path)}, strict=True).resolve("python3.13")


@pytest.mark.parametrize("runtime", ["nodejs20.x", "python2.7", "python3", ""])
def test_other_runtimes_are_refused(runtime):
    with pytest.raises(NoInterpreter, match="is no Python runtime"):
        Interpreters().resolve(runtime)
