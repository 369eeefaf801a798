"""Logging and function logs; imports nothing of ours."""
