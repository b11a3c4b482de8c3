"""Following a run to its end: live at a terminal, elsewhere a line for each change."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text
from temporalio.service import RPCError

from message_batches.cli.tables import attention, decisions, run_rows
from message_batches.formatting import PHASES
from message_batches.runs.control import Runs
from message_batches.runs.describe import RunView

INTERVAL = 1.0

Show = Callable[[RunView], None]


async def follow(runs: Runs, workflow_id: str, show: Show) -> RunView:
    """Look at a run until it is over, whatever becomes of the connection meanwhile."""
    ended = asyncio.create_task(runs.ended(workflow_id))
    view: RunView | None = None
    try:
        while True:
            try:
                view = await runs.look(workflow_id)
            except RPCError:
                # Temporal may be away for a while, as any part may: who waits goes on waiting.
                view = replace(view, reachable=False) if view else None
            if view:
                show(view)
            if view and not view.running:
                return view
            if ended.done():
                await asyncio.sleep(INTERVAL)
            else:
                await asyncio.wait([ended], timeout=INTERVAL)
    finally:
        ended.cancel()
        await asyncio.wait([ended])


@contextmanager
def display(console: Console, hint: str = "Ctrl-C stops watching; the run goes on") -> Iterator[Show]:
    """Where a run is shown while it is followed; nothing of it is left at a terminal."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    live = _Live(hint)
    with Live(get_renderable=live.render, console=console, transient=True, refresh_per_second=5):
        yield live.show


class _Live:
    """The last look, with clocks that go on."""

    def __init__(self, hint: str) -> None:
        self._view: RunView | None = None
        self._spinner = Spinner("dots", text=Text(hint, style="dim"), style="cyan")

    def show(self, view: RunView) -> None:
        self._view = view

    def render(self) -> RenderableType:
        if self._view is None:
            return self._spinner
        return Group(run_rows(self._view, datetime.now(UTC)), self._spinner)


class _Lines:
    """A line whenever something else is to be said."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: list[str] = []

    def show(self, view: RunView) -> None:
        now = datetime.now(UTC)
        lines = [_line(view), *(_without_clock(line) for line in (*attention(view, now), *decisions(view)))]
        for line in lines:
            if line not in self._said:
                self._console.print(line, markup=False, soft_wrap=True)
        self._said = lines


def _line(view: RunView) -> str:
    progress = view.progress
    if not view.running:
        state = "landed" if view.output else view.status.value
    else:
        state = PHASES[progress.phase] if progress else view.status.value
    batch = f", {view.batch_id}" if view.batch_id else ""
    status = f" {progress.processing_status}" if progress and progress.processing_status and view.running else ""
    return f"{view.workflow_id}: {state}{batch}{status}"


def _without_clock(line: str) -> str:
    """The sentence without the seconds in it, which would make it another one at each look."""
    before, found, after = line.partition(", again in ")
    return f"{before}:{after.partition(':')[2].partition(':')[2]}" if found else line
