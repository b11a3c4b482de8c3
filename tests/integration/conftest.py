"""A Temporal server on which a run continues as new after a few polls."""

from collections.abc import AsyncIterator

import pytest

from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, dev_server

SHORT_LIFE = 10
"""Polls after which a run on that server has continued another, once."""


@pytest.fixture(scope="session")
async def short_lived() -> AsyncIterator[DevServer]:
    """Start a server that suggests to continue as new after 100 events of a history; the default is 4,096."""
    limit = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=100")
    async with dev_server(extra_args=[*PROMPT_TIMERS, *limit]) as server:
        yield server
