"""Decisions: pure values and state machines; standard library only, no await, no clock, no randomness."""
