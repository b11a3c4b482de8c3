"""The cost of waiting in Temporal: events, bytes and actions of a poll and of a run, and the largest run of a chain."""

from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from statistics import median

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from benchmarks.servers import api, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row
from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE
from message_batches.models import BatchInput, PollSchedule
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import connect, worker_identity
from message_batches.temporal.dev_server import DevServer, dev_server
from worker import build_worker
from workflows.context import CONTINUE_AFTER

MOST_EVENTS_A_POLL = 11
MOST_BYTES_A_POLL = 900
MOST_ACTIONS_A_POLL = 2
MOST_EVENTS_A_RUN = 1200
HOUR, DAY = 120, 2880
"""Polls of a run that lasts so long, at one each 30 s."""
_RUN = "run"

_ACTIONS = (
    "workflow_execution_started_event_attributes",
    "timer_started_event_attributes",
    "activity_task_scheduled_event_attributes",
    "marker_recorded_event_attributes",
    "upsert_workflow_search_attributes_event_attributes",
)
"""The events that Temporal Cloud counts as actions."""


async def measure(setting: Setting) -> list[Row]:
    """Wait through three runs of a chain: the first has the submission, the second is as all others of a day.

    A wait that is scaled down may be over within the first.
    """
    params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
    given = BatchInput(
        requests=[{"custom_id": "request-1", "params": params}],
        poll=PollSchedule(retry_after=timedelta(milliseconds=10)),
    )
    polls = setting.sized(2 * CONTINUE_AFTER + 10, least=20)
    async with dev_server() as server, emulator("--ends-after-polls", str(polls)) as url, api(url) as http:
        store = open_store((setting.folder / "store").as_uri())
        client = await connect(address=server.address, identity=worker_identity())
        async with build_worker(client, http, store, task_queue=DEFAULT_TASK_QUEUE):
            await server.client.execute_workflow(WORKFLOW_TYPE, given, id=_RUN, task_queue=DEFAULT_TASK_QUEUE)
        chain = await _chain(server)
    return _rows(chain, polls)


def _rows(chain: list[WorkflowHistory], polls: int) -> list[Row]:
    second = chain[min(1, len(chain) - 1)]
    # Between two timers of a run that does nothing but wait there is one poll.
    timers = [index for index, event in enumerate(second.events) if event.HasField("timer_started_event_attributes")]
    waits = [second.events[start:end] for start, end in pairwise(timers)]
    events = median(len(wait) for wait in waits)
    size = median(sum(event.ByteSize() for event in wait) for wait in waits)
    actions = median(map(_actions, waits))
    largest = max(len(history.events) for history in chain)
    # One for each run of the chain; the rest is the same for a wait of any length.
    others = sum(_actions(history.events) for history in chain) - polls * actions - len(chain)
    hour, day = (others + each * actions + -(-each // CONTINUE_AFTER) for each in (HOUR, DAY))
    return [
        Row(
            what="one poll, in the history",
            ours=f"{events:g} events, {size:,.0f} bytes, {actions:g} actions",
            goal=f"at most {MOST_EVENTS_A_POLL}, {MOST_BYTES_A_POLL} bytes, {MOST_ACTIONS_A_POLL}",
            met=events <= MOST_EVENTS_A_POLL and size <= MOST_BYTES_A_POLL and actions <= MOST_ACTIONS_A_POLL,
        ),
        Row(
            what=f"largest run of a chain, {polls} polls in {len(chain)} runs",
            ours=f"{largest:,} events",
            goal=f"at most {MOST_EVENTS_A_RUN:,}",
            met=largest <= MOST_EVENTS_A_RUN,
        ),
        Row(
            what="a run, in actions of Temporal Cloud",
            ours=f"{hour:,.0f} for an hour, {day:,.0f} for a day, at a poll each 30 s",
        ),
    ]


def _actions(events: Iterable[HistoryEvent]) -> int:
    return sum(event.WhichOneof("attributes") in _ACTIONS for event in events)


async def _chain(server: DevServer) -> list[WorkflowHistory]:
    """Return the histories of a workflow's runs, the first one first."""
    found = []
    run_id: str | None = (await server.client.get_workflow_handle(_RUN).describe()).run_id
    while run_id:
        history = await server.client.get_workflow_handle(_RUN, run_id=run_id).fetch_history()
        found.append(history)
        started = history.events[0].workflow_execution_started_event_attributes
        run_id = started.continued_execution_run_id or None
    return found[::-1]
