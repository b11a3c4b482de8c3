"""Chaos: rounds of runs on real processes that are harmed as a seed decides, and the invariants of every round."""
