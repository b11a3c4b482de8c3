"""The arguments and options of the commands; loaded for `--help`, so it imports nothing but Typer."""

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

_MOST_DOLLARS = 1_000_000_000


def _duration(text: str) -> timedelta:
    try:
        return read_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _age(text: str) -> timedelta:
    try:
        return read_duration(text, longest=timedelta(days=36500))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except ArithmeticError:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 < amount <= _MOST_DOLLARS):
        raise typer.BadParameter(f"{text!r} is not an amount of US dollars such as 25 or 0.50")
    return amount


Id = Annotated[str, typer.Argument(metavar="ID", help="The run's workflow id, or its batch's id.", show_default=False)]
BatchId = Annotated[str, typer.Argument(metavar="MSGBATCH_ID", help="The id of a batch.", show_default=False)]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

Document = Annotated[
    Path | None, typer.Option("--document", metavar="FILE", help="The Arazzo document with the cadence. Default: ours.")
]

PollInterval = Annotated[
    timedelta | None,
    typer.Option("--poll-interval", parser=_duration, metavar="DURATION", help="Instead of the document's retryAfter."),
]

PollLimit = Annotated[
    int | None, typer.Option("--poll-limit", min=0, max=10_000_000, help="Instead of the document's retryLimit.")
]

SubmissionTimeout = Annotated[
    timedelta | None,
    typer.Option(
        "--submission-timeout", parser=_duration, metavar="DURATION", help="How long the POST may take. Default: 10m."
    ),
]

QuietPeriod = Annotated[
    timedelta | None,
    typer.Option(
        "--quiet-period",
        parser=_duration,
        metavar="DURATION",
        help="How long the account's list is watched after a lost reply. Default: 15m.",
    ),
]

KeyName = Annotated[str, typer.Option("--key", metavar="NAME", help="The name of a key that the worker holds.")]

Version = Annotated[
    str | None, typer.Option("--anthropic-version", metavar="DATE", help="Default: the document's, 2023-06-01.")
]

Betas = Annotated[
    list[str] | None, typer.Option("--beta", metavar="NAME", help="An anthropic-beta for the batch. May be repeated.")
]

AskModels = Annotated[
    bool, typer.Option("--live", help="Ask the API for each model: it exists, takes batches and these max_tokens.")
]

CountTokens = Annotated[
    bool,
    typer.Option("--count", help="Ask the API for the tokens of a sample of 20 requests, which scale the estimate."),
]

MaxCost = Annotated[
    Decimal | None,
    typer.Option(
        "--max-cost",
        parser=_dollars,
        metavar="USD",
        help="Send nothing if the requests may cost more, by the estimate.",
    ),
]

By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="TIME",
        help="Land then what has finished, cancel the rest: 06:00 (the next) or 2026-11-28T06:00.",
    ),
]

Queue = Annotated[str | None, typer.Option("--task-queue", metavar="NAME", help="Default: MESSAGE_BATCHES_TASK_QUEUE.")]

DeleteAfterLanding = Annotated[
    bool,
    typer.Option("--delete-after-landing", help="Delete the batch at the provider once its results are verified here."),
]

Again = Annotated[
    bool, typer.Option("--again", help="Submit (and pay for) the same requests again, in a run of its own.")
]

WorkflowId = Annotated[
    str | None,
    typer.Option(
        "--workflow-id", metavar="ID", help="The id that an earlier --again named: find that run, or start it once."
    ),
]

RequestsFile = Annotated[
    str | None, typer.Option("--requests", metavar="FILE", help="The batch's requests: the results are fully checked.")
]

Wait = Annotated[
    bool | None,
    typer.Option("--wait/--detach", help="Follow it to its end, or leave it. Default: follow at a terminal."),
]

Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 unless every request has a usable reply.")]

Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there instead of to standard output (-).")
]

Report = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: report-ID.html in this directory.")
]
Browse = Annotated[bool, typer.Option("--open", help="Open it in a browser.")]

Text = Annotated[bool, typer.Option("--text", help="Only the custom_ids and the texts.")]


class FailedKind(StrEnum):
    """The values of `--failed`."""

    ERRORS = "errors"
    UNUSABLE = "unusable"
    INVALID = "invalid"
    ALL = "all"


_GOES_WITH = {
    "--max-tokens": ("--failed",),
    "--strict": ("--check-schema",),
    "--bom": ("--csv",),
    "--join": ("--csv", "--parquet"),
    "--on": ("--join",),
}


class ResultsCommand(typer.core.TyperCommand):
    """The command `results`, whose `--failed` may stand alone: a value of it comes behind `=`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give `--failed` its value where it has none; `BadParameter` for options that make no sense together."""
        end = args.index("--") if "--" in args else len(args)
        named = [f"{word}={FailedKind.ERRORS}" if word == "--failed" else word for word in args[:end]]
        rest = super().parse_args(ctx, [*named, *args[end:]])
        _check_together({f"--{name.replace('_', '-')}": value for name, value in ctx.params.items()})
        return rest


def _check_together(given: Mapping[str, object]) -> None:
    forms = [name for name in ("--text", "--failed", "--check-schema", "--csv", "--parquet") if given[name]]
    if len(forms) > 1:
        raise typer.BadParameter(f"{forms[0]} and {forms[1]} cannot be combined: use one at a time")
    for option, goes_with in _GOES_WITH.items():
        if given[option] and not any(given[name] for name in goes_with):
            raise typer.BadParameter(f"{option} goes with {' or '.join(goes_with)}")
    if given["--max-tokens"] and given["--failed"] not in (FailedKind.UNUSABLE, FailedKind.ALL):
        raise typer.BadParameter("--max-tokens goes with --failed=unusable or --failed=all: others were not cut off")
    if given["--output"] and (given["--csv"] or given["--parquet"]):
        raise typer.BadParameter(f"--output and {forms[0]} cannot be combined: {forms[0]} FILE names the file")
    if given["--output"] and given["--check-schema"]:
        raise typer.BadParameter("--output and --check-schema cannot be combined: --failed=invalid writes a file")
    if str(given["--parquet"]) == "-":
        raise typer.BadParameter("--parquet takes the name of a file, not -")
    for option in ("--csv", "--output"):
        if str(given[option]) == "-" and given["--as-json"]:
            raise typer.BadParameter(f"{option} - and --json cannot be combined: both go to standard output")


Failed = Annotated[
    FailedKind | None,
    typer.Option(
        "--failed",
        help="The original requests to send again. Alone: of errors; or --failed=unusable (cut off, refused, paused), "
        "--failed=invalid (as --check-schema finds them), --failed=all.",
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="With --failed: raise the limit of requests that were cut off to this."),
]
CheckSchema = Annotated[
    bool, typer.Option("--check-schema", help="Compare each answer with the schema that its request gave.")
]
StrictSchema = Annotated[
    bool, typer.Option("--strict", help="With --check-schema: exit with 1 unless every answer is there and matches.")
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a table; - is standard output.")]
Bom = Annotated[bool, typer.Option("--bom", help="With --csv: a mark before it by which Excel knows UTF-8.")]
Parquet = Annotated[
    Path | None, typer.Option("--parquet", metavar="FILE", help="Write a table; needs the extra `parquet`.")
]
Join = Annotated[
    Path | None, typer.Option("--join", metavar="FILE", help="A CSV file whose columns come before those of the table.")
]
On = Annotated[
    str | None, typer.Option("--on", metavar="COLUMN", help="Its column with the custom_ids. Default: custom_id.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]

Abandon = Annotated[bool, typer.Option("--abandon", help="Cancel the run itself: nothing is landed.")]
Adopt = Annotated[str | None, typer.Option("--adopt", metavar="MSGBATCH_ID", help="This batch is the run's.")]
SubmitAgain = Annotated[bool, typer.Option("--submit-again", help="None of them is: send the requests again.")]

OlderThan = Annotated[
    timedelta,
    typer.Option(
        "--older-than",
        parser=_age,
        metavar="DURATION",
        help="The age, such as 40d; at least 30d.",
        show_default=False,
    ),
]

Delete = Annotated[bool, typer.Option("--delete", help="Remove them. Without this, they are only shown.")]

Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status", metavar="STATUS", help="Only runs of that status, such as undecided or failed. May be repeated."
    ),
]

NeedsAttention = Annotated[
    bool,
    typer.Option(
        "--needs-attention",
        help="Only what does not move, what must be decided, batches near their end, submissions without a run.",
    ),
]

MAX_LIMIT = 1000
Limit = Annotated[int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="How many runs to show.")]
NexusEndpoint = Annotated[
    str | None,
    typer.Option("--nexus-endpoint", metavar="NAME", help="Create this endpoint for callers in other namespaces."),
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")]
Live = Annotated[bool, typer.Option("--live", help="Use the real API and its cadence, which is charged; asks first.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

Debug = Annotated[
    bool,
    typer.Option("--debug", envvar="MESSAGE_BATCHES_DEBUG", help="Show where an unexpected error comes from."),
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|d)")
_LONGEST = timedelta(days=7)


def read_duration(text: str, longest: timedelta = _LONGEST) -> timedelta:
    """Read a number with its unit; `ValueError` shows an example."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 1m, 0.2s or 2h")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= longest.total_seconds():
        raise ValueError(f"{text!r} is not between 0 and {longest.days:,} days")
    return timedelta(seconds=seconds)
