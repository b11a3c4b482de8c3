"""Schedules on a real server: their firings, their files, their requests in the store."""
