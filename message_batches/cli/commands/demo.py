"""The demo: a Temporal server with its Web UI, a worker and the emulator on this machine, and a batch through them."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr
from rich.console import Group
from rich.prompt import Confirm
from temporalio.client import Client

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.interface import BatchApi
from message_batches.api.keys import DEFAULT_KEY, ApiKeys
from message_batches.api.models import Account
from message_batches.cli.commands.start import Place, Wishes, end_of, inline, order_of, put
from message_batches.cli.context import Answer, Desk
from message_batches.cli.live_progress import display, follow
from message_batches.cli.screen import called
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.models import PollSchedule, RetrySchedule, SubmissionSchedule
from message_batches.requests.reader import Requests, read_requests
from message_batches.runs.control import Refused, Runs
from message_batches.runs.start import Order, RunStarter
from message_batches.settings import Settings, encryption_keys
from message_batches.storage.interface import Store
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.dev_server import DevServer, dev_server

PROCESSING = timedelta(seconds=5)

QUICK_POLL = PollSchedule(retry_after=timedelta(seconds=1), transient=RetrySchedule(retry_after=timedelta(seconds=1)))

QUICK_SUBMISSION = SubmissionSchedule(timeout=timedelta(seconds=20), quiet_period=timedelta(seconds=5))

_EMULATED_KEY = "sk-ant-emulated-demo"

BuildWorker = Callable[[Client, BatchApi, Store], AbstractAsyncContextManager[object]]


@dataclass(frozen=True)
class Play:
    """How the demo is to go.

    Attributes:
        file: the requests.
        document: the Arazzo document, for the cadence with the real API.
        keep: leave everything running until Ctrl-C.
        live: the real API and its cadence, for money.
        agreed: do not ask before that.
    """

    file: str
    document: Path
    keep: bool = False
    live: bool = False
    agreed: bool = False


@dataclass(frozen=True)
class Stage:
    """Everything that runs for a demo, and where."""

    server: DevServer
    store: ObjectStore
    base_url: str

    def link(self, workflow_id: str, run_id: str) -> str:
        """A run's page in the Web UI."""
        namespace = self.server.client.namespace
        return f"{self.server.ui_url}/namespaces/{namespace}/workflows/{workflow_id}/{run_id}/history"


async def demo(desk: Desk, play: Play, build_worker: BuildWorker) -> Answer:
    """Run a batch on this machine from its requests to its report.

    Args:
        desk: of the command.
        play: how it is to go.
        build_worker: makes the worker: the application's, which this library does not know.
    """
    settings = _live_settings(desk) if play.live else None
    with read_requests(play.file) as requests:
        if settings and not play.agreed and not _agreed(desk, _price(requests, settings)):
            raise Refused("Nothing was sent")
        with _interruptible(), _kept_if_used() as folder:
            desk.say("Starting Temporal, the worker and " + (settings.base_url if settings else "the emulator"))
            async with _stage(build_worker, folder, settings) as stage:
                return await _perform(desk, play, stage, requests)


async def _perform(desk: Desk, play: Play, stage: Stage, requests: Requests) -> Answer:
    runs = Runs(stage.server.client, stage.store)
    order = _order(play).saying(Path(play.file).name, requests)
    starter = RunStarter(stage.server.client, stage.store)
    begun = await starter.start(order, await put(stage.store, requests), inline(requests))
    with display(desk.err, "Ctrl-C stops the demo") as show:
        view = await follow(runs, begun.workflow_id, show)
    link = stage.link(view.workflow_id, view.run_id)
    # By the batch's id and with this store the results are found without Temporal, also once all of this has stopped.
    command = f"MESSAGE_BATCHES_STORE={stage.store.uri('')} {called()} results {view.batch_id}"
    answer = await end_of(desk, view, place=Place(stage.store, command, link))
    if not play.keep:
        hint = "All of it is stopped again, the files stay. To leave it running: make demo ARGS=--keep"
        return replace(answer, shown=Group(answer.shown or "", "", hint))
    desk.give(answer)
    desk.say(_kept(stage, link))
    await asyncio.Event().wait()
    raise AssertionError("only an interruption ends the wait")


@asynccontextmanager
async def _stage(build_worker: BuildWorker, folder: Path, settings: Settings | None) -> AsyncIterator[Stage]:
    """Everything on free ports of this machine; stopped at the end, the server last."""
    async with AsyncExitStack() as running:
        with _silent():
            server = await running.enter_async_context(dev_server(keys=encryption_keys()))
        if settings:
            base_url, keys = settings.base_url, settings.keys
        else:
            base_url, keys = (
                await running.enter_async_context(_emulator()),
                ApiKeys({DEFAULT_KEY: SecretStr(_EMULATED_KEY)}),
            )
        http = await running.enter_async_context(http_client(base_url))
        store = open_store((folder / "store").as_uri())
        await running.enter_async_context(build_worker(server.client, HttpBatchApi(http, keys), store))
        yield Stage(server, store, base_url)


@contextmanager
def _silent() -> Iterator[None]:
    """What is started here inherits an output that goes nowhere: ours is for the answer and the progress alone."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in kept:
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


@asynccontextmanager
async def _emulator() -> AsyncIterator[str]:
    from message_batches.emulator import Emulator, EmulatorOptions

    async with Emulator(EmulatorOptions(processing_time=PROCESSING)) as emulator:
        yield emulator.url


@contextmanager
def _kept_if_used() -> Iterator[Path]:
    """A fresh directory that stays if results landed in it."""
    folder = Path(tempfile.mkdtemp(prefix="message-batches-demo-"))
    try:
        yield folder
    finally:
        if not (folder / "store" / "results").is_dir():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM begins the end, a further one does not disturb it: nothing is left running."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop() -> None:
        for number in signals:
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)
    yield


def _live_settings(desk: Desk) -> Settings:
    if DEFAULT_KEY not in desk.settings.keys.secrets:
        raise Refused("--live needs ANTHROPIC_API_KEY in the environment; without --live an emulator answers")
    return desk.settings


def _agreed(desk: Desk, question: str) -> bool:
    # asyncio answers Ctrl-C by a cancellation, which a person who is asked would wait for in vain.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return Confirm.ask(question, console=desk.err, default=False)
    except EOFError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def _price(requests: Requests, settings: Settings) -> str:
    models = ", ".join(requests.models)
    return (
        f"Send {requests.count:,} requests ({models}; at most {requests.max_tokens:,} output tokens) to "
        f"{settings.base_url}, billed to ANTHROPIC_API_KEY?"
    )


def _order(play: Play) -> Order:
    if play.live:
        return order_of(Wishes(document=play.document), DEFAULT_TASK_QUEUE)
    return Order(Account(), QUICK_POLL, QUICK_SUBMISSION, DEFAULT_TASK_QUEUE)


def _kept(stage: Stage, link: str) -> str:
    return f"""
All of it runs on until Ctrl-C:
  Web UI    {stage.server.ui_url}
  this run  {link}
  Temporal  {stage.server.address}
  API       {stage.base_url}
  store     {stage.store.uri("")}
In another terminal:
  export TEMPORAL_ADDRESS={stage.server.address} MESSAGE_BATCHES_STORE={stage.store.uri("")}
  {called()} list"""
