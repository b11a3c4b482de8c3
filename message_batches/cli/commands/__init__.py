"""The commands of `starter.py`, a module for each group."""
