"""The display of a run that is followed: live at a terminal, elsewhere a line for each change."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Generic, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from message_batches.cli.tables import attention, decisions, run_rows
from message_batches.formatting import PHASE_LABELS
from message_batches.runs.describe import RunView

View = TypeVar("View")


def run_lines(view: RunView, now: datetime) -> list[str]:
    """Say how a run stands in a line for each fact."""
    return [_line(view), *attention(view, now), *decisions(view)]


def display(
    console: Console, hint: str = "Ctrl-C stops watching; the run continues"
) -> AbstractContextManager[Callable[[RunView], None]]:
    """Show a run while it is followed; at a terminal the display is removed at the end."""
    return display_view(console, hint, run_rows, run_lines)


@contextmanager
def display_view(
    console: Console,
    hint: str,
    rows: Callable[[View, datetime], RenderableType],
    lines: Callable[[View, datetime], Sequence[str]],
) -> Iterator[Callable[[View], None]]:
    """Show a run or a job while it is followed.

    Args:
        console: on which.
        hint: says how to stop.
        rows: show it at a terminal.
        lines: say how it stands elsewhere: each is printed when it changes.
    """
    if not console.is_terminal:
        yield _Lines(console, lines).show
        return
    live = _Live(hint, rows)
    with Live(get_renderable=live.render, console=console, transient=True, refresh_per_second=5):
        yield live.show


class _Live(Generic[View]):
    """The last view, with clocks that advance."""

    def __init__(self, hint: str, rows: Callable[[View, datetime], RenderableType]) -> None:
        self._view: View | None = None
        self._rows = rows
        self._spinner = Spinner("dots", text=Text(hint, style="dim"), style="cyan")

    def show(self, view: View) -> None:
        self._view = view

    def render(self) -> RenderableType:
        if self._view is None:
            return self._spinner
        return Group(self._rows(self._view, datetime.now(UTC)), self._spinner)


class _Lines(Generic[View]):
    """A line for each change."""

    def __init__(self, console: Console, lines: Callable[[View, datetime], Sequence[str]]) -> None:
        self._console = console
        self._lines = lines
        self._printed: list[str] = []

    def show(self, view: View) -> None:
        lines = [_without_clock(line) for line in self._lines(view, datetime.now(UTC))]
        for line in lines:
            if line not in self._printed:
                self._console.print(line, markup=False, soft_wrap=True)
        self._printed = lines


def _line(view: RunView) -> str:
    progress = view.progress
    if not view.running:
        state = "landed" if view.output else view.status.value
    else:
        state = PHASE_LABELS[progress.phase] if progress else view.status.value
    batch = f", {view.batch_id}" if view.batch_id else ""
    status = f" {progress.processing_status}" if progress and progress.processing_status and view.running else ""
    return f"{view.workflow_id}: {state}{batch}{status}"


def _without_clock(line: str) -> str:
    """Remove the seconds from a sentence, which would make it a new one each time."""
    before, found, after = line.partition(", again in ")
    return f"{before}:{after.partition(':')[2].partition(':')[2]}" if found else line
