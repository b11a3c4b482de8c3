"""Runs as a program sees them: starting, following, deciding, listing."""
