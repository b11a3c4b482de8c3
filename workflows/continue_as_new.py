"""Continue-as-new: a run continues as a new one before its history gets long, or once there is a newer build to do so.

A worker that meets a run for the first time replays its history, so the length of the history is the time that takes.
"""

from temporalio import workflow

from workflows.context import RunContext

CONTINUE_AFTER = 100
"""Polls, or reads of the list, in a run before continue-as-new: a worker replays 100 in 0.5 s, but 1,000 in 6 s."""


async def maybe_continue_as_new(context: RunContext) -> None:
    """Count a turn of the run, and continue as a new run if that is due.

    Handlers finish first; a submission that is undecided is carried over.
    """
    context.turns += 1
    if context.state.cancel_requested:
        return  # The server lets only the run that was asked to cancel end as cancelled, not one that continues it.
    info = workflow.info()
    # A run stays with the build that it began on; what continues it begins on the newest.
    outdated = info.is_target_worker_deployment_version_changed()
    if context.turns <= CONTINUE_AFTER and not info.is_continue_as_new_suggested() and not outdated:
        return
    await workflow.wait_condition(workflow.all_handlers_finished)
    without_requests = {"requests": None, "requests_uri": None, "state": context.state}
    workflow.continue_as_new(
        context.request.model_copy(update=without_requests),
        initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
    )


def past_history_budget(context: RunContext) -> bool:
    """Tell whether the run should have continued as a new one, and may not because its cancellation was requested."""
    return context.state.cancel_requested and context.turns > CONTINUE_AFTER
