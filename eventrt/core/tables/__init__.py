"""Decisions about tables: attribute values, keys and the expression language; pure, standard library only."""
