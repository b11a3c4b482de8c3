"""Retention: the purge of the objects of old runs from the store."""
