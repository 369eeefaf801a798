"""The worker as a program of its own, for functions whose AWS_LAMBDA_EXEC_WRAPPER starts the interpreter anew."""

import json
import os
import sys

_SPEC_FD = 5
_HOST = os.path.dirname(os.path.realpath(__file__))

sys.path[0] = os.path.dirname(_HOST)

from python_host import worker  # noqa: E402

sys.path.pop(0)


def main():
    """Read what the zygote prepared, take the variables as the wrapper left them, and run."""
    with open(_SPEC_FD, "rb") as file:
        spec = json.loads(file.read())
    for fd in (3, 4):
        os.set_inheritable(fd, False)
    spec["environment"] = dict(os.environ)
    stdlib = [path for path in sys.path if path.startswith((sys.base_prefix, sys.base_exec_prefix))]
    sys.path[:] = stdlib
    worker.run(spec)


main()
