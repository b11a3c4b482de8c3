"""Tests of `message_batches/schedules`."""
