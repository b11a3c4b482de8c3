"""The scenarios of this folder, played together."""

from collections.abc import AsyncIterator

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.processes.crash.together import Outcomes, playing


@pytest.fixture(scope="package")
async def outcomes(
    request: pytest.FixtureRequest, temporal: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Outcomes]:
    async with playing(request.session.items, temporal, tmp_path_factory.mktemp("crash")) as outcomes:
        yield outcomes
