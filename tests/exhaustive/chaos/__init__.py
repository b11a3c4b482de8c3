"""Chaos: rounds of runs in a world of processes that seeded harm is done to, and what must hold all the same."""
