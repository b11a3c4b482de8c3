"""Benchmarks: the program's costs alongside those of alternatives, measured in the same run on the same machine."""
