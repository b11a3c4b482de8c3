"""Histories of runs, and the search for keys in them."""

from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from tests.harness.stack import KEYS


async def histories(client: Client, run: WorkflowHandle[Any, Any]) -> list[WorkflowHistory]:
    """Return the histories of a run and of the runs that continue it."""
    found: list[WorkflowHistory] = []
    run_id = run.first_execution_run_id
    while run_id:
        found.append(await client.get_workflow_handle(run.id, run_id=run_id).fetch_history())
        run_id = found[-1].events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return found


async def histories_with_a_key(client: Client) -> list[str]:
    """Return the runs whose events, payloads included, contain the text of a key."""
    keys = [secret.get_secret_value().encode() for secret in KEYS.values()]
    found = []
    async for run in client.list_workflows():
        async for event in client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history_events():
            content = event.SerializeToString()
            if any(key in content for key in keys):
                found.append(f"{run.id}: {event}"[:500])
    return found
