"""The command line: starts runs of message batches and shows where they stand. It parses, calls and prints."""

import os
import signal
import sys

if __name__ == "__main__":
    # While modules are still being loaded nothing has to be stopped, and a traceback would tell nobody anything.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import typer

from message_batches.cli import options as given

HERE = Path(__file__).parent
DOCUMENT = HERE / "arazzo" / "claude-batch-process-and-retrieve-results-workflow.yml"
EXAMPLE = HERE / "examples" / "requests.jsonl"

app = typer.Typer(
    name="starter.py",
    help="Send a file of requests to Claude as one message batch, paid for once, its results complete and checked.",
    epilog="Exit codes: 0 landed or left running, 1 the run failed, 2 refused and nothing sent.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
debug = {"debug": False}

# Each command imports what it uses: Temporal, Rich and the store take half a second that `--help` need not wait for.


@app.callback()
def options(traceback: given.Debug = False) -> None:
    """Take the options that stand before the command."""
    debug["debug"] = traceback


def _carry_out(command: Callable[..., Any], as_json: bool) -> int:
    from message_batches.cli.context import carry_out

    return carry_out(command, json=as_json, **debug)


@app.command()
def start(
    file: given.File,
    document: given.Document = None,
    poll_interval: given.PollInterval = None,
    poll_limit: given.PollLimit = None,
    submission_timeout: given.SubmissionTimeout = None,
    quiet_period: given.QuietPeriod = None,
    key: given.Key = "default",
    anthropic_version: given.Version = None,
    beta: given.Betas = None,
    task_queue: given.Queue = None,
    again: given.Again = False,
    delete_after_landing: given.DeleteAfterLanding = False,
    wait: given.Wait = None,
    strict: given.Strict = False,
    as_json: given.Json = False,
) -> int:
    """Start a run for a file of requests; the same content is the same run."""
    from message_batches.cli.commands import start

    wishes = start.Wishes(
        document=document or DOCUMENT,
        poll_interval=poll_interval,
        poll_limit=poll_limit,
        submission_timeout=submission_timeout,
        quiet_period=quiet_period,
        key=key,
        version=anthropic_version,
        betas=tuple(beta or ()),
        task_queue=task_queue,
        delete_after_landing=delete_after_landing,
    )
    waiting = start.Waiting(wait=wait, strict=strict)
    command = partial(start.start, file=file, wishes=wishes, waiting=waiting, again=again)
    return _carry_out(command, as_json)


@app.command()
def check(file: given.File, anthropic_version: given.Version = None, as_json: given.Json = False) -> int:
    """Check a file of requests, and say what will come back errored; sends nothing."""
    from message_batches.cli.commands import start

    wishes = start.Wishes(document=DOCUMENT, version=anthropic_version)
    return _carry_out(partial(start.check, file=file, wishes=wishes), as_json)


@app.command()
def status(identity: given.Id, as_json: given.Json = False) -> int:
    """Show where a run stands."""
    from message_batches.cli.commands import show

    return _carry_out(partial(show.status, identity=identity), as_json)


@app.command()
def watch(identity: given.Id, strict: given.Strict = False, as_json: given.Json = False) -> int:
    """Follow a run to its end; Ctrl-C stops watching, not the run."""
    from message_batches.cli.commands import show

    return _carry_out(partial(show.watch, identity=identity, strict=strict), as_json)


@app.command()
def results(
    identity: given.Id,
    output: given.Output = None,
    text: given.Text = False,
    failed: given.Failed = False,
    force: given.Force = False,
    as_json: given.Json = False,
) -> int:
    """Get the results; or with --failed the original requests that are worth sending again."""
    from message_batches.cli.commands import show

    wanted = show.Wanted(output=output, text=text, failed=failed, force=force)
    return _carry_out(partial(show.results, identity=identity, wanted=wanted), as_json)


@app.command()
def cancel(identity: given.Id, abandon: given.Abandon = False, as_json: given.Json = False) -> int:
    """Stop a run's batch and land what had finished."""
    from message_batches.cli.commands import control

    return _carry_out(partial(control.cancel, identity=identity, abandon=abandon), as_json)


@app.command()
def resolve(
    identity: given.Id,
    adopt: given.Adopt = None,
    submit_again: given.SubmitAgain = False,
    as_json: given.Json = False,
) -> int:
    """Decide which batch is a run's, where a lost reply left that open."""
    from message_batches.cli.commands import control

    command = partial(control.resolve, identity=identity, adopt=adopt, submit_again=submit_again)
    return _carry_out(command, as_json)


@app.command()
def attach(
    batch_id: given.BatchId,
    requests: given.RequestsFile = None,
    document: given.Document = None,
    poll_interval: given.PollInterval = None,
    poll_limit: given.PollLimit = None,
    key: given.Key = "default",
    anthropic_version: given.Version = None,
    task_queue: given.Queue = None,
    wait: given.Wait = None,
    strict: given.Strict = False,
    as_json: given.Json = False,
) -> int:
    """Take over a batch that exists, wherever it was created, and land its results."""
    from message_batches.cli.commands import start

    wishes = start.Wishes(
        document=document or DOCUMENT,
        poll_interval=poll_interval,
        poll_limit=poll_limit,
        key=key,
        version=anthropic_version,
        task_queue=task_queue,
    )
    waiting = start.Waiting(wait=wait, strict=strict)
    command = partial(start.attach, batch_id=batch_id, file=requests, wishes=wishes, waiting=waiting)
    return _carry_out(command, as_json)


@app.command("list")
def list_runs(
    status: given.Statuses = None,
    needs_attention: given.NeedsAttention = False,
    limit: given.Limit = 20,
    as_json: given.Json = False,
) -> int:
    """List the newest runs; or those that need attention, each with the command that settles it."""
    from message_batches.cli.commands import attention, show

    if needs_attention and status:
        raise typer.BadParameter("--status and --needs-attention are asked for one at a time")
    if needs_attention:
        return _carry_out(partial(attention.needing_attention, limit=limit), as_json)
    return _carry_out(partial(show.list_runs, limit=limit, statuses=status or ()), as_json)


@app.command()
def setup(as_json: given.Json = False) -> int:
    """Register the search attributes that `list --status` and the Web UI's columns use; what is there stays."""
    from message_batches.cli.commands import setup

    return _carry_out(setup.setup, as_json)


@app.command()
def purge(older_than: given.OlderThan, delete: given.Delete = False, as_json: given.Json = False) -> int:
    """Show, or with --delete remove, what the store holds of runs long over; the same content is bought anew then."""
    from message_batches.cli.commands import purge

    return _carry_out(partial(purge.purge, older_than=older_than, delete=delete), as_json)


@app.command()
def demo(
    keep: given.Keep = False, live: given.Live = False, yes: given.Yes = False, as_json: given.Json = False
) -> int:
    """Run a batch on this machine, with Temporal, a worker and an emulated API embedded."""
    from message_batches.cli.commands import demo as play
    from message_batches.contract import DEFAULT_TASK_QUEUE
    from worker import build_worker

    chosen = play.Play(str(EXAMPLE), DOCUMENT, keep=keep, live=live, agreed=yes)
    build = partial(build_worker, task_queue=DEFAULT_TASK_QUEUE, graceful_shutdown_timeout=timedelta(seconds=1))
    return _carry_out(partial(play.demo, play=chosen, build_worker=build), as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; wrong arguments get one line."""
    try:
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        from message_batches.formatting import visible

        for line in f"starter.py: {error.format_message()} (`starter.py --help` shows how)".split("\n"):
            print(visible(line), file=sys.stderr)
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
