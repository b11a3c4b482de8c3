"""The command line of the commands that decide about runs and jobs; loaded for `--help`, so it imports only Typer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import typer

from message_batches.cli import options as given
from message_batches.cli.jobs import options as job_options


def add_commands(app: typer.Typer, run: Callable[[Callable[..., Any], bool], int]) -> None:
    """Add `cancel`, `resolve`, `resume` and `retry`.

    Args:
        app: the command line.
        run: runs a command, with or without `--json`, and returns its exit code.
    """

    @app.command()
    def cancel(identity: given.Id, abandon: given.Abandon = False, as_json: given.Json = False) -> int:
        """Stop a run's batch, or those of a job, and land the finished results."""
        from message_batches.cli.commands import control

        return run(partial(control.cancel, identity=identity, abandon=abandon), as_json)

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
        return run(command, as_json)

    @app.command()
    def resume(
        job_id: job_options.JobId, wait: given.Wait = None, strict: given.Strict = False, as_json: given.Json = False
    ) -> int:
        """Let a paused job go on; start one again that has ended without a result for each request."""
        from message_batches.cli.commands import control
        from message_batches.cli.follow import WaitOptions

        waiting = WaitOptions(wait=wait, strict=strict)
        return run(partial(control.resume, job_id=job_id, waiting=waiting), as_json)

    @app.command()
    def retry(
        identity: given.Id,
        retry_waves: job_options.Waves = 2,
        what: job_options.RetriedWhat = job_options.RetryWhat.ERRORS,
        max_tokens: job_options.RaisedMaxTokens = None,
        max_cost: given.MaxCost = None,
        wait: given.Wait = None,
        strict: given.Strict = False,
        as_json: given.Json = False,
    ) -> int:
        """Send again what has failed of a run or a job, in a job that merges it into the results."""
        job_options.check_raised(what, max_tokens)
        from message_batches.cli.commands import control
        from message_batches.cli.follow import WaitOptions
        from message_batches.job_models import Retries, RetryKind

        retries = Retries(waves=retry_waves, what=RetryKind(what.value), max_tokens=max_tokens)
        waiting = WaitOptions(wait=wait, strict=strict)
        command = partial(control.retry, identity=identity, retries=retries, max_cost=max_cost, waiting=waiting)
        return run(command, as_json)
