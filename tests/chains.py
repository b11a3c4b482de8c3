"""The histories of a run that has continued as new."""

from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory


async def histories(client: Client, run: WorkflowHandle[Any, Any]) -> list[WorkflowHistory]:
    """A run's history, and those of what it continued as."""
    found: list[WorkflowHistory] = []
    run_id = run.first_execution_run_id
    while run_id:
        found.append(await client.get_workflow_handle(run.id, run_id=run_id).fetch_history())
        run_id = found[-1].events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return found
