"""Tests of the README and the pages of docs/ that run their commands and execute their snippets."""
