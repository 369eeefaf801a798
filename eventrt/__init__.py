"""eventrt: the local, durable event runtime that speaks AWS's own wire protocols."""

__version__ = "0.1.0"
