"""The commands for schedules."""
