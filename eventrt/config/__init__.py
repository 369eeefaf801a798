"""The configuration: what can be set, where it comes from, and what is wrong with it.

`settings` and `declared` list what there is; `load` reads and merges; `check` follows references for
`eventrt check`; `mistakes` is how each complaint looks.
"""

from eventrt.config.load import config_path, load
from eventrt.config.mistakes import Mistake, WrongConfiguration
from eventrt.config.settings import Settings

__all__ = ["Mistake", "Settings", "WrongConfiguration", "config_path", "load"]
