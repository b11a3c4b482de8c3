"""The surroundings of the commands and snippets of the pages: a Temporal server, APIs, a store, a worker."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from temporalio.client import WorkflowHandle

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.library.notifications import Delivery, notifications_of
from message_batches.models import BatchOutput, SubmissionSchedule
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.harness import waiting
from tests.harness.requests import requests
from tests.harness.stack import Stack, progress_when
from worker import build_worker

AT_ONCE = EmulatorOptions(processing_time=timedelta(0))
LONG = EmulatorOptions(processing_time=timedelta(hours=1))
PATIENT = "patient"
KEYS = {"default": "sk-ant-emulated-0001", PATIENT: "sk-ant-emulated-0002"}


@dataclass
class World:
    """A server with a store, an API whose batches end at once, and one, for the key `patient`, whose batches take long.

    Attributes:
        quick, patient: the same server and store over one and the other.
    """

    server: DevServer
    quick: Stack
    patient: Stack
    _runs: int = field(default=0, init=False)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that a reader has set before the first command of a page."""
        return {
            "TEMPORAL_ADDRESS": self.server.address,
            "ANTHROPIC_BASE_URL": self.quick.emulator.url,
            "ANTHROPIC_BASE_URL_PATIENT": self.patient.emulator.url,
            "ANTHROPIC_API_KEY": KEYS["default"],
            "ANTHROPIC_API_KEY_PATIENT": KEYS[PATIENT],
            "MESSAGE_BATCHES_STORE": self.quick.store_url,
        }

    def given(self) -> list[dict[str, Any]]:
        """Requests of another number than those of any other run: no batch can be taken for another one."""
        self._runs += 1
        return requests(self._runs, f"Run {self._runs}")

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A worker in this process, on the queue where a caller expects it."""
        secrets = {name: SecretStr(text) for name, text in KEYS.items()}
        keys = ApiKeys(secrets, base_urls={PATIENT: self.patient.emulator.url})
        async with (
            http_client(self.quick.emulator.url) as http,
            build_worker(
                self.server.client,
                HttpBatchApi(http, keys),
                open_store(self.quick.store_url),
                task_queue=DEFAULT_TASK_QUEUE,
                graceful_shutdown_timeout=timedelta(seconds=1),
            ),
        ):
            yield

    async def landed(self) -> str:
        """The id of a run that has landed its results, one of them an error."""
        given = self.given()
        given[-1]["params"]["model"] = "claude-does-not-exist-9"
        run = await self.quick.start(given)
        await run.result()
        return run.id

    async def notified(self) -> str:
        """The id of a run that has told the webhook of the page of its events."""
        run = await self.quick.start(self.given(), notify=["ops"])
        await run.result()

        async def delivered() -> bool:
            sent = await notifications_of(self.server.client, run.first_execution_run_id or "")
            return [each.delivery for each in sent] == [Delivery.DELIVERED] * 2

        await waiting.eventually(delivered, "two notifications that are delivered")
        return run.id

    async def waiting(self) -> str:
        """The id of a run that waits for its batch."""
        run = await self.patient.start(self.given(), api_key=PATIENT)
        await progress_when(run, lambda seen: seen.polls > 0)
        return run.id

    async def undecided(self) -> tuple[str, str]:
        """The ids of a run whose POST got no reply, and of the batch that may be its."""
        self.patient.emulator.faults.add("accept-then-drop", operation="create", times=1)
        schedule = SubmissionSchedule(timeout=timedelta(seconds=3), quiet_period=timedelta(hours=1))
        run: WorkflowHandle[Any, BatchOutput] = await self.patient.start(
            self.given(), api_key=PATIENT, submission=schedule
        )
        seen = await progress_when(run, lambda now: bool(now.candidates))
        return run.id, seen.candidates[0].batch_id

    async def foreign(self, given: Sequence[Mapping[str, Any]]) -> str:
        """The id of a batch that no run has created."""
        headers = {"x-api-key": KEYS["default"], "anthropic-version": "2023-06-01"}
        async with httpx.AsyncClient(base_url=self.quick.emulator.url, headers=headers) as http:
            reply = await http.post("/v1/messages/batches", json={"requests": given})
            batch_id: str = reply.raise_for_status().json()["id"]
            return batch_id


@pytest.fixture(scope="package")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    store = (tmp_path_factory.mktemp("docs") / "store").as_uri()
    async with dev_server() as server, Emulator(AT_ONCE) as quick, Emulator(LONG) as patient:
        rigs = [Stack(server.client, emulator, store, DEFAULT_TASK_QUEUE) for emulator in (quick, patient)]
        yield World(server, *rigs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a clone of the project."""
    (tmp_path / "clone").mkdir()
    return tmp_path / "clone"
