"""Schedules of runs and jobs, over Temporal Schedules: a library without a terminal."""
