"""The command that writes the report of a batch as one page: `report`; it needs no worker, and not even Temporal."""

import shlex
import webbrowser
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.result_export import refuse_existing, save
from message_batches.errors import MessageBatchesError
from message_batches.jobs.control import Jobs
from message_batches.jobs.describe import JobView, StoredJob, find_job
from message_batches.library.sources import JobSource
from message_batches.prices import PriceList
from message_batches.report.data import Report, cost_by_kind, figures_of, read_figures
from message_batches.report.moments import moments_in_history, moments_in_store, moments_of_job
from message_batches.report.page import Commands, page
from message_batches.results.reader import Publication
from message_batches.runs.control import Runs, find_results
from message_batches.runs.describe import RunNotFound, RunView
from message_batches.serialization import ContractModel
from message_batches.storage.interface import Store
from message_batches.temporal.connection import run_url, web_ui_of
from message_batches.temporal.namespaces import address_of

_NAME = "report-{}.html"
_MOST = 100
"""Characters of an id in the name of a file."""


@dataclass(frozen=True)
class ReportOptions:
    """The options of a report.

    Attributes:
        output: the file; by default it is named by the id.
        browse: open it in a browser.
        force: overwrite an existing file.
    """

    output: Path | None = None
    browse: bool = False
    force: bool = False


class SavedReport(ContractModel):
    """A report that was written to a file; `shown` of its results are in it with their text."""

    batch_id: str | None
    workflow_id: str | None
    file: str
    bytes: int
    results: int
    shown: int


async def report(context: CommandContext, identity: str, options: ReportOptions) -> CommandResult:
    """Write the report of a run, a batch or a job whose results have landed."""
    file = options.output or Path(_NAME.format(_file_part(identity)))
    refuse_existing(file, force=options.force)
    prices, ui_url = context.settings.prices, context.settings.ui_url
    connections = context.runs.connections
    job = await find_job(context.store, identity, context.client)
    if job:
        made = await gather_job(context.store, job, prices)
    else:
        publication = await find_results(context.store, identity, connections.runs)
        made = await gather(context.store, publication, identity, prices)
    try:
        client = await context.client()
        if job:
            made = await with_job(made, await connections.jobs(), client, ui_url)
        else:
            made = await with_run(made, await connections.runs(), client, ui_url)
    except RunNotFound:
        pass  # The end of the retention: the store has what the page needs.
    except (MessageBatchesError, RPCError) as error:
        why = next_steps.error_text(error) if isinstance(error, MessageBatchesError) else error.message
        context.say(f"The report lacks what Temporal knows of the run. {why}", style="yellow")
    size = await write(file, made, next_steps.results(shlex.quote(identity)), force=options.force)
    if options.browse and not webbrowser.open(file.resolve().as_uri()):
        context.say("No browser was found to open it with", style="yellow")
    document = SavedReport(
        batch_id=None if job else made.name,
        workflow_id=job.job_id if job else made.run.workflow_id if made.run else None,
        file=str(file),
        bytes=size,
        results=made.landed.results_file.lines,
        shown=len(made.figures.rows),
    )
    return CommandResult(document, f"The report of {made.name} is in {file}")


async def gather(store: Store, publication: Publication, identity: str, prices: PriceList) -> Report:
    """Gather the part of a report that the store has; `ResultsChanged` if the results are not what was landed."""
    landed = publication.landed
    return Report(
        identity=identity,
        landed=landed,
        figures=await read_figures(store, publication),
        moments=await moments_in_store(store, landed),
        kinds=cost_by_kind(landed, prices),
    )


async def gather_job(store: Store, job: StoredJob, prices: PriceList) -> Report:
    """Gather the part of a job's report that the store has; `ResultsChanged` if the results are not what was merged."""
    merged, source = job.results(), JobSource(store, job, await job.waves())
    return Report(
        identity=job.job_id,
        landed=merged,
        figures=await figures_of(source.pieces(), source.requests()),
        moments=await moments_of_job(store, merged, None),
        kinds=cost_by_kind(merged, prices),
    )


async def with_job(made: Report, jobs: Jobs, client: Client, ui_url: str | None) -> Report:
    """Return a job's report with what Temporal knows of the job."""
    run = await jobs.describe(made.identity, query_timeout=timedelta())
    moments = replace(made.moments, started=run.started)
    return replace(made, run=run, moments=moments, link=_link(run, client, ui_url))


async def with_run(made: Report, runs: Runs, client: Client, ui_url: str | None) -> Report:
    """Return a report with what Temporal knows of the run, if that is the run of this batch."""
    run: RunView = await runs.describe(made.identity, query_timeout=timedelta())
    if run.batch_id != made.name:
        return made
    moments = await moments_in_history(client, run, made.moments)
    return replace(made, run=run, moments=moments, link=_link(run, client, ui_url))


def _link(run: RunView | JobView, client: Client, ui_url: str | None) -> str | None:
    ui = ui_url or web_ui_of(address_of(client))
    return run_url(ui, client.namespace, run.workflow_id, run.run_id) if ui else None


async def write(file: Path, made: Report, command: str, *, force: bool = False) -> int:
    """Write the page completely or not at all; return its size.

    Args:
        file: where to.
        made: the report.
        command: the command line that gets the results.
        force: overwrite an existing file.
    """
    cut = made.figures.longest_cut
    raised = f" {next_steps.raise_limit(cut)}" if cut else ""
    commands = Commands(
        results=f"{command} -o results.jsonl",
        again=f"{command} --failed -o retry.jsonl",
        invalid="retry.invalid.jsonl",
        start=f"{next_steps.called()} start retry.jsonl",
        unusable=f"{command} --failed=unusable{raised} -o retry.jsonl",
    )
    if made.job:
        job = shlex.quote(made.identity)
        limit = raised or " --max-tokens N"
        commands = replace(
            commands, again=next_steps.retry(job), unusable=next_steps.retry(job, f" --what unusable{limit}")
        )
    return await save(file, _once(page(made, commands, datetime.now(UTC))), force=force)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _file_part(identity: str) -> str:
    return "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "_" for each in identity)[:_MOST]
