"""The part of a workflow that schedules need: a file of requests that is named by the time, and waited for."""
