import pytest

from tests.external.contract import judges


@pytest.fixture(scope="session")
def judged() -> None:
    """Install the linters and the runner."""
    judges.install()
