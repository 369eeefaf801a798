"""What every test shares: how hypothesis looks for counterexamples.

A suite that runs once on a machine nobody knows must say the same thing everywhere: examples are the same in each run,
and none is too slow. To search for longer, set `EVENTRT_LAWS` or `EVENTRT_EXAMPLES` (the numbers that some laws read):
then every example is a new one.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("search" if {"EVENTRT_LAWS", "EVENTRT_EXAMPLES"} & os.environ.keys() else "same")
