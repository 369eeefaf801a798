"""Shelves where events are born, as plain functions on a transaction."""
