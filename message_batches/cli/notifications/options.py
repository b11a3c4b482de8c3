"""The option `--notify` and the command `notify`; loaded for `--help`, so it imports nothing but Typer."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from message_batches.cli import options as given

Notify = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        metavar="NAME",
        help="Tell a webhook that the worker has by that name of the run's events. May be repeated.",
        show_default=False,
    ),
]


def add_command(app: typer.Typer, run: Callable[[Callable[..., Any], bool], int]) -> None:
    """Add `notify`.

    Args:
        app: the command line.
        run: runs a command, with or without `--json`, and returns its exit code.
    """

    @app.command()
    def notify(identity: given.Id, as_json: given.Json = False) -> int:
        """Send the events of a run that did not reach their webhooks again, at once."""
        from message_batches.cli.notifications import sending

        return run(partial(sending.notify, identity=identity), as_json)
