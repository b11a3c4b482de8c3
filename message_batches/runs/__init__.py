"""Runs for a Python program: starting, following, stopping and resolving them, listing them, finding their results.

Nothing here prints or names a command: an error carries the next step as data (`message_batches.errors.RunError`).
"""
