"""A receiver of traces, and stacks whose clients and workers send to it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.observability.trace_interceptor import TracingInterceptor
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer
from tests.harness.otlp import Receiver, Seen
from tests.harness.stack import Stack, running_stack


@dataclass
class Traced:
    """A stack, and the spans that have come of it."""

    live: Stack
    receiver: Receiver
    tracing: TracingInterceptor

    async def spans(self) -> list[Seen]:
        """Return all spans, once none is left to be sent; nothing is sent afterwards."""
        await self.tracing.stop()
        return self.receiver.spans


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def traced(temporal: DevServer, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Traced]:
    """Run a worker with traces, over an emulator whose batches take a moment."""
    tracing = receiver.interceptor()
    client = await connect(address=temporal.address, interceptors=[tracing])
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.5))) as emulator,
        running_stack(client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        yield Traced(live, receiver, tracing)
    await tracing.stop()
