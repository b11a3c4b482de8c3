"""How hard the properties are tried: `quick`, the same examples each time, or `thorough`, others each time.

PROPERTIES=thorough python -m pytest tests/exhaustive/properties
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine with other work to do is slow at times: what takes too long is for the test's own timeout to say.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
PROFILE = os.environ.get("PROPERTIES", "quick")

settings.register_profile("quick", max_examples=60, stateful_step_count=40, derandomize=True, database=None, **_COMMON)
settings.register_profile("thorough", max_examples=2000, stateful_step_count=80, print_blob=True, **_COMMON)
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the thorough ones an hour each."""
    if PROFILE != "quick":
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))
