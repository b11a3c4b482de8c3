"""The scenarios of this folder, played together."""

import os
from collections.abc import AsyncIterator

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.processes.crash.together import Outcomes, playing


@pytest.fixture(scope="package")
async def outcomes(
    request: pytest.FixtureRequest, temporal: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Outcomes]:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Whichever process gets here plays all scenarios; a second one fails: TOGETHER of tests/conftest.py is broken.
        (tmp_path_factory.getbasetemp().parent / "scenarios-are-played").mkdir()
    async with playing(request.session.items, temporal, tmp_path_factory.mktemp("crash")) as outcomes:
        yield outcomes
