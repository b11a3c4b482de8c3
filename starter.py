"""The command line: starts, shows and controls runs of message batches. It parses arguments and calls commands."""

import os
import resource
import signal
import sys

if __name__ == "__main__":
    # There may be keys in memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # While modules are still being loaded nothing has to be stopped, and a traceback would not help anybody.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import typer

from message_batches.cli import options as given
from message_batches.cli.jobs import options as job_options
from message_batches.cli.jobs import steering
from message_batches.cli.notifications import options as webhooks
from message_batches.cli.schedules import group as schedules

HERE = Path(__file__).parent
DOCUMENT = HERE / "arazzo" / "claude-batch-process-and-retrieve-results-workflow.yml"
EXAMPLE = HERE / "examples" / "requests.jsonl"
LIVE_EXAMPLE = HERE / "examples" / "live.jsonl"

app = typer.Typer(
    name="starter.py",
    help="Send a file of requests to Claude as one message batch, paid for once, its results complete and checked.",
    epilog="Exit codes: 0 done, landed or left running; 1 the run failed, no worker answered, or another error; "
    "2 refused and no requests sent; 3 landed, with requests that a deadline has left unfinished; 130 interrupted. "
    "docs/cli.md has all cases.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
debug = {"debug": False}

# Each command imports what it uses: Temporal, Rich and the store take half a second, which `--help` does not need.


@app.callback()
def options(traceback: given.Debug = False) -> None:
    """Read the options before the command."""
    debug["debug"] = traceback


def _run(command: Callable[..., Any], as_json: bool) -> int:
    from message_batches.cli.context import run_command

    return run_command(command, json=as_json, **debug)


@app.command(cls=job_options.StartCommand)
def start(
    files: job_options.Files,
    document: given.Document = None,
    poll_interval: given.PollInterval = None,
    poll_limit: given.PollLimit = None,
    submission_timeout: given.SubmissionTimeout = None,
    quiet_period: given.QuietPeriod = None,
    key: given.KeyName = "default",
    anthropic_version: given.Version = None,
    beta: given.Betas = None,
    task_queue: given.Queue = None,
    again: given.Again = False,
    workflow_id: given.WorkflowId = None,
    delete_after_landing: given.DeleteAfterLanding = False,
    max_cost: given.MaxCost = None,
    retry_waves: job_options.RetryWaves = None,
    what: job_options.What = None,
    max_tokens: job_options.RaisedMaxTokens = None,
    shard_requests: job_options.ShardRequests = None,
    concurrency: job_options.Concurrency = None,
    by: given.By = None,
    notify: webhooks.Notify = None,
    wait: given.Wait = None,
    strict: given.Strict = False,
    as_json: given.Json = False,
) -> int:
    """Start a run for requests, or a job if they are more than one batch takes; the same content is the same run."""
    from message_batches.cli.commands import start
    from message_batches.cli.follow import WaitOptions
    from message_batches.library.options import StartKeywords

    options = StartKeywords(
        document=document or DOCUMENT,
        poll_interval=poll_interval,
        poll_limit=poll_limit,
        submission_timeout=submission_timeout,
        quiet_period=quiet_period,
        key=key,
        anthropic_version=anthropic_version,
        beta=beta,
        task_queue=task_queue,
        delete_after_landing=delete_after_landing,
        max_cost=max_cost,
        by=by,
        retry_waves=retry_waves,
        what=what,
        max_tokens=max_tokens,
        shard_requests=shard_requests,
        concurrency=concurrency,
        notify=notify,
    )
    asked = start.Asked(files, WaitOptions(wait=wait, strict=strict), again, workflow_id)
    return _run(partial(start.start, asked=asked, options=options), as_json)


@app.command()
def check(
    files: job_options.Files,
    anthropic_version: given.Version = None,
    beta: given.Betas = None,
    key: given.KeyName = "default",
    live: given.AskModels = False,
    count: given.CountTokens = False,
    as_json: given.Json = False,
) -> int:
    """Check files of requests, warn of those that will come back errored, estimate their cost; sends nothing."""
    from message_batches.cli.commands import check
    from message_batches.library.options import SendKeywords

    options = SendKeywords(document=DOCUMENT, key=key, anthropic_version=anthropic_version, beta=beta)
    return _run(partial(check.check, files=files, options=options, live=live, count=count), as_json)


@app.command()
def status(identity: given.Id, as_json: given.Json = False) -> int:
    """Show the status of a run."""
    from message_batches.cli.commands import show

    return _run(partial(show.status, identity=identity), as_json)


@app.command()
def watch(identity: given.Id, strict: given.Strict = False, as_json: given.Json = False) -> int:
    """Follow a run to its end; Ctrl-C stops watching, not the run."""
    from message_batches.cli.commands import show

    return _run(partial(show.watch, identity=identity, strict=strict), as_json)


@app.command(cls=given.ResultsCommand)
def results(
    identity: given.Id,
    output: given.Output = None,
    text: given.Text = False,
    failed: given.Failed = None,
    max_tokens: given.MaxTokens = None,
    check_schema: given.CheckSchema = False,
    strict: given.StrictSchema = False,
    csv: given.Csv = None,
    bom: given.Bom = False,
    parquet: given.Parquet = None,
    join: given.Join = None,
    on: given.On = None,
    merged_so_far: job_options.Partial = False,
    force: given.Force = False,
    as_json: given.Json = False,
) -> int:
    """Get the results, as they are or as a table; or the requests to send again; or check answers by their schemas."""
    from message_batches.cli.commands import results

    file = csv or parquet
    table = results.TableOptions(file, bool(parquet), bom, join, on or "custom_id") if file else None
    options = results.ResultsOptions(
        output, text, failed, max_tokens, check_schema, strict, table, force, merged_so_far
    )
    return _run(partial(results.results, identity=identity, options=options), as_json)


@app.command()
def report(
    identity: given.Id,
    output: given.Report = None,
    browse: given.Browse = False,
    force: given.Force = False,
    as_json: given.Json = False,
) -> int:
    """Write a page on the results: what came back, what it cost, what failed and what to do."""
    from message_batches.cli.commands import report

    return _run(partial(report.report, identity=identity, options=report.ReportOptions(output, browse, force)), as_json)


steering.add_commands(app, _run)
schedules.add_commands(app, _run, DOCUMENT)
webhooks.add_command(app, _run)


@app.command()
def attach(
    batch_id: given.BatchId,
    requests: given.RequestsFile = None,
    document: given.Document = None,
    poll_interval: given.PollInterval = None,
    poll_limit: given.PollLimit = None,
    key: given.KeyName = "default",
    anthropic_version: given.Version = None,
    task_queue: given.Queue = None,
    by: given.By = None,
    notify: webhooks.Notify = None,
    wait: given.Wait = None,
    strict: given.Strict = False,
    as_json: given.Json = False,
) -> int:
    """Take over a batch that exists, no matter where it was created, and land its results."""
    from message_batches.cli.commands import start
    from message_batches.cli.follow import WaitOptions
    from message_batches.library.options import RunKeywords

    options = RunKeywords(
        document=document or DOCUMENT,
        poll_interval=poll_interval,
        poll_limit=poll_limit,
        key=key,
        anthropic_version=anthropic_version,
        task_queue=task_queue,
        by=by,
        notify=notify,
    )
    waiting = WaitOptions(wait=wait, strict=strict)
    command = partial(start.attach, batch_id=batch_id, file=requests, options=options, waiting=waiting)
    return _run(command, as_json)


@app.command("list")
def list_runs(
    status: given.Statuses = None,
    needs_attention: given.NeedsAttention = False,
    limit: given.Limit = 20,
    as_json: given.Json = False,
) -> int:
    """List the newest runs; or those that need attention, each with the command that helps."""
    from message_batches.cli.commands import list as listing

    if needs_attention and status:
        raise typer.BadParameter("--status and --needs-attention cannot be combined: use one at a time")
    if needs_attention:
        return _run(partial(listing.list_attention, limit=limit), as_json)
    return _run(partial(listing.list_runs, limit=limit, statuses=status or ()), as_json)


@app.command()
def setup(nexus_endpoint: given.NexusEndpoint = None, as_json: given.Json = False) -> int:
    """Register the search attributes that `list --status` and the Web UI's columns use; existing ones stay."""
    from message_batches.cli.commands import setup

    return _run(partial(setup.setup, nexus_endpoint=nexus_endpoint), as_json)


@app.command()
def purge(older_than: given.OlderThan, delete: given.Delete = False, as_json: given.Json = False) -> int:
    """Show, or with --delete remove, objects of runs that ended long ago; then the same content is charged again."""
    from message_batches.cli.commands import purge

    return _run(partial(purge.purge, older_than=older_than, delete=delete), as_json)


@app.command()
def demo(
    keep: given.Keep = False, live: given.Live = False, yes: given.Yes = False, as_json: given.Json = False
) -> int:
    """Run a batch on this machine, with Temporal, a worker and an emulated API embedded."""
    from message_batches.cli.commands import demo
    from message_batches.contract import DEFAULT_TASK_QUEUE
    from worker import build_worker

    options = demo.DemoOptions(str(LIVE_EXAMPLE if live else EXAMPLE), DOCUMENT, keep=keep, live=live, agreed=yes)
    build = partial(build_worker, task_queue=DEFAULT_TASK_QUEUE, graceful_shutdown_timeout=timedelta(seconds=1))
    return _run(partial(demo.demo, options=options, build_worker=build), as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; wrong arguments are reported in one line."""
    try:
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        from message_batches.formatting import escape_unprintable

        for line in f"starter.py: {error.format_message()} (`starter.py --help` shows how)".split("\n"):
            print(escape_unprintable(line), file=sys.stderr)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    code = main()
    if "temporalio" in sys.modules:
        from message_batches.temporal.connection import leave

        leave(code)
    sys.exit(code)
