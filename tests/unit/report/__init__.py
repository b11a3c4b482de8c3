"""Tests of the report as one page."""
