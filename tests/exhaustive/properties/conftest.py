"""The effort of the property tests: `quick`, the same examples each time, or `thorough`, others each time.

PROPERTIES=thorough python -m pytest tests/exhaustive/properties
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is occasionally slow, so hypothesis has no deadline; the test's own timeout limits it.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
PROFILE = os.environ.get("PROPERTIES", "quick")

settings.register_profile("quick", max_examples=60, stateful_step_count=40, derandomize=True, database=None, **_COMMON)
settings.register_profile("thorough", max_examples=2000, stateful_step_count=80, print_blob=True, **_COMMON)
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each thorough test an hour."""
    if PROFILE != "quick":
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))
