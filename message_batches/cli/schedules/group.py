"""The command line of `schedule`; loaded for `--help`, so it imports only Typer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import typer

from message_batches.cli import options as given
from message_batches.cli.jobs import options as job_options
from message_batches.cli.notifications import options as webhooks
from message_batches.cli.schedules import options


def add_commands(app: typer.Typer, run: Callable[[Callable[..., Any], bool], int], default_document: Path) -> None:
    """Add `schedule` with its commands.

    Args:
        app: the command line.
        run: runs a command, with or without `--json`, and returns its exit code.
        default_document: the Arazzo document with the cadence.
    """
    group = typer.Typer(
        help="Send requests again and again at set times, each firing a run of its own, through Temporal Schedules.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.add_typer(group, name="schedule")

    @group.command()
    def create(
        name: options.Name,
        files: options.Files = None,
        requests_uri: options.RequestsUri = None,
        wait_for_file: options.WaitForFile = None,
        every: options.Every = None,
        cron: options.Cron = None,
        time_zone: options.TimeZone = "UTC",
        overlap: options.Overlap = options.OverlapChoice.SKIP,
        pause_on_failure: options.PauseOnFailure = False,
        max_cost: given.MaxCost = None,
        document: given.Document = None,
        poll_interval: given.PollInterval = None,
        poll_limit: given.PollLimit = None,
        submission_timeout: given.SubmissionTimeout = None,
        quiet_period: given.QuietPeriod = None,
        key: given.KeyName = "default",
        anthropic_version: given.Version = None,
        beta: given.Betas = None,
        task_queue: given.Queue = None,
        delete_after_landing: given.DeleteAfterLanding = False,
        retry_waves: job_options.RetryWaves = None,
        what: job_options.What = None,
        max_tokens: job_options.RaisedMaxTokens = None,
        shard_requests: job_options.ShardRequests = None,
        concurrency: job_options.Concurrency = None,
        notify: webhooks.Notify = None,
        as_json: given.Json = False,
    ) -> int:
        """Create a schedule: each firing submits, and pays for, the requests anew."""
        options.check_together(files or (), requests_uri, wait_for_file, every, cron or ())
        if what and not retry_waves:
            raise typer.BadParameter("--what goes with --retry-waves")
        job_options.check_raised(what, max_tokens)
        from message_batches.cli.schedules import commands
        from message_batches.library.options import StartKeywords
        from message_batches.schedules.models import Overlap, ScheduleOptions

        keywords = StartKeywords(
            document=document or default_document,
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
            retry_waves=retry_waves,
            what=what,
            max_tokens=max_tokens,
            shard_requests=shard_requests,
            concurrency=concurrency,
            notify=notify,
        )
        asked = commands.Asked(
            name,
            ScheduleOptions(every, tuple(cron or ()), time_zone, Overlap(overlap.value), pause_on_failure),
            tuple(files or ()),
            requests_uri,
            wait_for_file,
        )
        return run(partial(commands.create, asked=asked, keywords=keywords), as_json)

    @group.command("list")
    def list_schedules(as_json: given.Json = False) -> int:
        """List the schedules, each with its next time."""
        from message_batches.cli.schedules import commands

        return run(commands.list_all, as_json)

    @group.command()
    def show(name: options.Name, as_json: given.Json = False) -> int:
        """Show a schedule: its times, what it sends, its last runs."""
        from message_batches.cli.schedules import commands

        return run(partial(commands.show, name=name), as_json)

    @group.command()
    def trigger(name: options.Name, as_json: given.Json = False) -> int:
        """Fire a schedule now, also a paused one: it submits, and pays for, its requests."""
        from message_batches.cli.schedules import commands

        return run(partial(commands.trigger, name=name), as_json)

    @group.command()
    def pause(name: options.Name, reason: options.Reason = "", as_json: given.Json = False) -> int:
        """Let a schedule fire no more until it is resumed; its runs go on."""
        from message_batches.cli.schedules import commands

        return run(partial(commands.pause, name=name, reason=reason), as_json)

    @group.command()
    def resume(name: options.Name, as_json: given.Json = False) -> int:
        """Let a paused schedule fire again; what it has missed is not made up for."""
        from message_batches.cli.schedules import commands

        return run(partial(commands.resume, name=name), as_json)

    @group.command()
    def delete(name: options.Name, as_json: given.Json = False) -> int:
        """Remove a schedule; the runs that it has started go on."""
        from message_batches.cli.schedules import commands

        return run(partial(commands.delete, name=name), as_json)
