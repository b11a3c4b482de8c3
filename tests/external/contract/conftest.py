import pytest

from tests.external.contract import judges


@pytest.fixture(scope="session")
def judged() -> None:
    """The linters and the runner are installed."""
    judges.install()
