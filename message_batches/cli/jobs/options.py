"""The options of `start` for a job; loaded for `--help`, so it imports nothing but Typer."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
import typer.core

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help='JSONL, a JSON array, {"requests": [...]}, or - for stdin. Several are sent as one, in their order.',
        show_default=False,
    ),
]

RetryWaves = Annotated[
    int | None,
    typer.Option(
        "--retry-waves",
        min=0,
        max=20,
        metavar="N",
        help="Send again what has failed, up to N times, and merge the results: a job. Default for more requests than "
        "one batch takes: 2.",
    ),
]


Waves = Annotated[
    int,
    typer.Option("--retry-waves", min=1, max=20, metavar="N", help="Send again what has failed, up to N times."),
]


class RetryWhat(StrEnum):
    """The values of `--what`."""

    ERRORS = "errors"
    UNUSABLE = "unusable"


What = Annotated[
    RetryWhat | None,
    typer.Option(
        "--what",
        help="With --retry-waves: only what expired or failed in passing, or also replies that were cut off. "
        "Default: errors.",
    ),
]

RetriedWhat = Annotated[
    RetryWhat, typer.Option("--what", help="Only what expired or failed in passing, or also replies that were cut off.")
]

Partial = Annotated[bool, typer.Option("--partial", help="Of a job that has not ended: merge what has landed so far.")]

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's workflow id.", show_default=False)]

RaisedMaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="With --what unusable: the limit for replies that were cut off."),
]

ShardRequests = Annotated[
    int | None,
    typer.Option(
        "--shard-requests",
        min=1,
        max=100_000,
        metavar="N",
        help="At most so many requests in a batch. Default: 100000.",
    ),
]

Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", min=1, max=100, metavar="N", help="So many batches of a job under way at once. Default: 8."
    ),
]


class StartCommand(typer.core.TyperCommand):
    """The command `start`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `BadParameter` for options that make no sense together."""
        rest = super().parse_args(ctx, args)
        _check_together(ctx.params)
        return rest


def _check_together(given: Mapping[str, Any]) -> None:
    if given["workflow_id"] and not given["again"]:
        raise typer.BadParameter("--workflow-id goes with --again: without it, the requests themselves name their run")
    if given["what"] and not given["retry_waves"]:
        raise typer.BadParameter("--what goes with --retry-waves")
    check_raised(given["what"], given["max_tokens"])


def check_raised(what: RetryWhat | None, max_tokens: int | None) -> None:
    """Raise `BadParameter` for replies that were cut off without a new limit, or for a limit without these."""
    unusable = what == RetryWhat.UNUSABLE
    if unusable and not max_tokens:
        raise typer.BadParameter("--what unusable goes with --max-tokens: a limit for replies that were cut off")
    if max_tokens and not unusable:
        raise typer.BadParameter("--max-tokens goes with --what unusable: others were not cut off")
