"""Carriers: from a source, through a core machine, to a function, and back."""
