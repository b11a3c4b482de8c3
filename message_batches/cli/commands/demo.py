"""The demo: runs a batch on this machine, with a Temporal server, its Web UI, a worker and the emulator."""

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
from message_batches.api.network import DIRECT
from message_batches.cli import next_steps
from message_batches.cli.commands.report import gather, with_run, write
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import ResultsLocation, end_result
from message_batches.cli.jobs.follow import last_view
from message_batches.cli.live_progress import display
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.jobs.files import JobRequests
from message_batches.library.batch_runs import BatchRuns
from message_batches.library.options import of_run
from message_batches.models import PollSchedule, RetrySchedule, SubmissionSchedule
from message_batches.requests.reader import CheckedRequests
from message_batches.results.reader import of_output
from message_batches.runs.control import Refused, Runs
from message_batches.runs.describe import RunView
from message_batches.runs.starter import StartOptions
from message_batches.settings import Settings, encryption_keys
from message_batches.storage.interface import Store
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.connection import run_url
from message_batches.temporal.dev_server import DevServer, dev_server

PROCESSING = timedelta(seconds=5)
QUICK_POLL = PollSchedule(retry_after=timedelta(seconds=1), transient=RetrySchedule(retry_after=timedelta(seconds=1)))
QUICK_SUBMISSION = SubmissionSchedule(timeout=timedelta(seconds=20), quiet_period=timedelta(seconds=5))
_EMULATED_KEY = "sk-ant-emulated-demo"
BuildWorker = Callable[[Client, BatchApi, Store], AbstractAsyncContextManager[object]]


@dataclass(frozen=True)
class DemoOptions:
    """The options of the demo.

    Attributes:
        file: the requests.
        document: the Arazzo document, for the cadence with the real API.
        keep: leave everything running until Ctrl-C.
        live: the real API and its cadence, which is charged.
        agreed: do not ask before that.
    """

    file: str
    document: Path
    keep: bool = False
    live: bool = False
    agreed: bool = False


@dataclass(frozen=True)
class DemoServices:
    """Everything that runs for a demo, and where."""

    server: DevServer
    store: ObjectStore
    base_url: str

    def link(self, view: RunView) -> str:
        """Return the URL of a run's page in the Web UI."""
        return run_url(self.server.ui_url, self.server.client.namespace, view.workflow_id, view.run_id)


async def demo(context: CommandContext, options: DemoOptions, build_worker: BuildWorker) -> CommandResult:
    """Run a batch on this machine from its requests to its report.

    Args:
        context: of the command.
        options: of the demo.
        build_worker: builds the worker: the application's, which this library does not know.
    """
    settings = _live_settings(context) if options.live else None
    given = StartOptions(poll=QUICK_POLL, submission=QUICK_SUBMISSION)
    if settings:
        given = of_run(settings, document=options.document, task_queue=DEFAULT_TASK_QUEUE)
    async with context.runs.read(options.file, given, estimate=False) as requests:
        requests.name = Path(options.file).name
        if settings and not options.agreed and not _agreed(context, _price(requests, settings)):
            raise Refused("Nothing was sent")
        with _interruptible(), _kept_if_used() as folder:
            context.say("Starting Temporal, the worker and " + (settings.base_url if settings else "the emulator"))
            async with _services(build_worker, folder, settings) as services:
                return await _run(context, options, services, (requests, given), folder / "report.html")


async def _run(
    context: CommandContext,
    options: DemoOptions,
    services: DemoServices,
    given: tuple[JobRequests, StartOptions],
    page: Path,
) -> CommandResult:
    client, store = services.server.client, services.store
    run = await BatchRuns(client, store).begin(*given)
    with display(context.err, "Ctrl-C stops the demo") as show:
        view = await last_view(run, show)
    assert isinstance(view, RunView)
    link = services.link(view)
    # By the batch's id and with this store the results are found without Temporal, also once all of this has stopped.
    command = f"MESSAGE_BATCHES_STORE={store.uri('')} {next_steps.results(view.batch_id or view.workflow_id)}"
    location = ResultsLocation(store, command, link)
    if view.output:
        made = await gather(store, await of_output(store, view.output), view.workflow_id, context.settings.prices)
        await write(page, await with_run(made, Runs(client, store), client, services.server.ui_url), command)
        location = replace(location, report=page)
        if context.json:
            context.say(f"The report is in {page}")
    result = await end_result(context, view, location=location)
    if not options.keep:
        hint = "All of it is stopped again, the files stay. To leave it running: make demo ARGS=--keep"
        return replace(result, shown=Group(result.shown or "", "", hint))
    context.give(result)
    context.say(_kept(services, link))
    await asyncio.Event().wait()
    raise AssertionError("only an interruption ends the wait")


@asynccontextmanager
async def _services(build_worker: BuildWorker, folder: Path, settings: Settings | None) -> AsyncIterator[DemoServices]:
    """Start everything on free ports of this machine; stop it at the end, the server last."""
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
        network = settings.network if settings else DIRECT
        http = await running.enter_async_context(http_client(base_url, network=network))
        store = open_store((folder / "store").as_uri())
        await running.enter_async_context(build_worker(server.client, HttpBatchApi(http, keys, network), store))
        yield DemoServices(server, store, base_url)


@contextmanager
def _silent() -> Iterator[None]:
    """Processes that are started here inherit an output that goes nowhere: ours is for the result and the progress."""
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
    """Create a directory that is removed at the end unless results landed in it."""
    folder = Path(tempfile.mkdtemp(prefix="message-batches-demo-"))
    try:
        yield folder
    finally:
        if not (folder / "store" / "results").is_dir():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Stop at the first Ctrl-C or SIGTERM and ignore further ones: nothing is left running."""
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


def _live_settings(context: CommandContext) -> Settings:
    if DEFAULT_KEY not in context.settings.keys.secrets:
        raise Refused("--live needs ANTHROPIC_API_KEY in the environment; without --live an emulator answers")
    return context.settings


def _agreed(context: CommandContext, question: str) -> bool:
    # asyncio handles Ctrl-C by a cancellation, which would have no effect while the question is open.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return Confirm.ask(question, console=context.err, default=False)
    except EOFError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def _price(requests: CheckedRequests, settings: Settings) -> str:
    models = ", ".join(requests.models)
    return (
        f"Send {requests.count:,} requests ({models}; at most {requests.max_tokens:,} output tokens) to "
        f"{settings.base_url}, billed to ANTHROPIC_API_KEY?"
    )


def _kept(services: DemoServices, link: str) -> str:
    return f"""
Everything keeps running until Ctrl-C:
  Web UI    {services.server.ui_url}
  this run  {link}
  Temporal  {services.server.address}
  API       {services.base_url}
  store     {services.store.uri("")}
In another terminal:
  export TEMPORAL_ADDRESS={services.server.address} MESSAGE_BATCHES_STORE={services.store.uri("")}
  {next_steps.called()} list"""
