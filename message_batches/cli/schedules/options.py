"""The arguments and options of the commands for schedules; loaded for `--help`, so it imports nothing but Typer."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from message_batches.cli.options import read_duration

_LONGEST_INTERVAL = timedelta(days=366)
_SHORTEST_INTERVAL = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(days=7)


def _interval(text: str) -> timedelta:
    try:
        every = read_duration(text, longest=_LONGEST_INTERVAL)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if every < _SHORTEST_INTERVAL:
        raise typer.BadParameter(f"{text!r} is shorter than 1s")
    return every


def _wait(text: str) -> timedelta:
    try:
        return read_duration(text, longest=_LONGEST_WAIT)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


class OverlapChoice(StrEnum):
    """The values of `--overlap`."""

    SKIP = "skip"
    BUFFER_ONE = "buffer-one"
    ALLOW = "allow"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the schedule.", show_default=False)]

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE...",
        help="The requests, as `start` takes them: they are put into the store now, and sent at each firing.",
        show_default=False,
    ),
]

RequestsUri = Annotated[
    str | None,
    typer.Option(
        "--requests-uri",
        metavar="URI",
        help="Instead of FILE: a JSONL file in the store that is read at each firing, in a job; {date}, {year}, "
        "{month}, {day}, {hour} and {minute} are those of the firing.",
    ),
]

WaitForFile = Annotated[
    timedelta | None,
    typer.Option(
        "--wait-for-file",
        parser=_wait,
        metavar="DURATION",
        help="With --requests-uri: wait so long for the file. Default: it has to be there.",
    ),
]

Every = Annotated[
    timedelta | None,
    typer.Option("--every", parser=_interval, metavar="DURATION", help="The interval, such as 24h; at least 1s."),
]

Cron = Annotated[
    list[str] | None,
    typer.Option("--cron", metavar="EXPRESSION", help='The times, such as "0 2 * * *". May be repeated.'),
]

TimeZone = Annotated[
    str, typer.Option("--time-zone", metavar="NAME", help="Of --cron and of {date}, such as Europe/Berlin.")
]

Overlap = Annotated[
    OverlapChoice,
    typer.Option("--overlap", help="While the last run is under way: start none, one after it, or one beside it."),
]

PauseOnFailure = Annotated[bool, typer.Option("--pause-on-failure", help="Pause the schedule once a run fails.")]

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Is shown until it is resumed.")]


def check_together(
    files: Sequence[str], requests_uri: str | None, wait: timedelta | None, every: timedelta | None, cron: Sequence[str]
) -> None:
    """Raise `BadParameter` unless there are requests and times, each given in one way."""
    if bool(files) == bool(requests_uri):
        raise typer.BadParameter("give either FILE or --requests-uri: what is sent at each firing")
    if wait and not requests_uri:
        raise typer.BadParameter("--wait-for-file goes with --requests-uri: FILE is put into the store now")
    if bool(every) == bool(cron):
        raise typer.BadParameter("give either --every or --cron: when it fires")
