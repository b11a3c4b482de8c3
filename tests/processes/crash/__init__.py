"""Crashes of real processes: killed, frozen or restarted; a run finishes and its batch is paid for once."""

import pytest

pytest.register_assert_rewrite("tests.processes.crash.scene")
