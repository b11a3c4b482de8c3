"""The command lines that the output suggests: every error or failure that names a next step is put into words here."""

import os
import shlex
import sys
from urllib.parse import unquote, urlsplit

from message_batches.api.keys import DEFAULT_KEY
from message_batches.contract import NextAction
from message_batches.errors import InvalidRequests, MessageBatchesError, RunError
from message_batches.job_models import FailedShard
from message_batches.jobs.attention import JobAttention
from message_batches.requests.preflight import PreflightWarning
from message_batches.runs.attention import AttentionItem, Decision, way_out
from message_batches.runs.control import Refused
from message_batches.runs.forgotten import ForgottenSubmission
from message_batches.runs.history import RunFailure
from message_batches.runs.obstacles import Cause, Obstacle
from message_batches.settings import display_command


def called() -> str:
    """Return the words before a command's name, which can be pasted into the same shell."""
    interpreter = min(sys.executable, os.path.relpath(sys.executable), key=len)
    return display_command() or f"{interpreter} {sys.argv[0]}"


def watch(workflow_id: str) -> str:
    """Return the command that follows a run."""
    return f"{called()} watch {workflow_id}"


def status(identity: str) -> str:
    """Return the command that shows how a run or a job stands."""
    return f"{called()} status {identity}"


def notify(identity: str) -> str:
    """Return the command that sends again what did not reach its webhooks."""
    return f"{called()} notify {identity}"


def results(identity: str) -> str:
    """Return the command that shows the results of a run or a batch."""
    return f"{called()} results {identity}"


def raise_limit(longest: int) -> str:
    """Return the option that raises the limit of replies that were cut off.

    Args:
        longest: the tokens of the longest of them, which are as many as its request allowed; 0 if not known.
    """
    return f"--max-tokens {2 * longest or 'N'}"


def resolve(workflow_id: str) -> str:
    """Return the command that decides which batch is a run's."""
    return f"{called()} resolve {workflow_id} --adopt MSGBATCH_ID | --submit-again"


def resume(job_id: str) -> str:
    """Return the command that lets a paused job go on, or starts one again that has ended."""
    return f"{called()} resume {job_id}"


def retry(identity: str, options: str = "") -> str:
    """Return the command that sends again what has failed of a run or a job."""
    return f"{called()} retry {identity}{options}"


def settle(shard: FailedShard) -> str | None:
    """Return the command that decides about a shard without results; None where the job itself takes it up again."""
    if shard.action is not NextAction.CHECK_BATCHES:
        return None
    batches = "|".join(shard.candidates[:2]) or "MSGBATCH_ID"
    return f"{called()} resolve {shard.workflow_id} --adopt {batches} | --submit-again"


def decide_job(item: JobAttention) -> str:
    """Return the command for a job that needs attention."""
    view = item.view
    if item.obstacle:
        return _way_out(view.workflow_id, way_out(item.obstacle), item.obstacle)
    if settled := next(filter(None, map(settle, item.failed_shards)), None):
        return settled
    paused = view.progress is not None and view.progress.paused is not None
    return resume(view.workflow_id) if paused or not view.running else watch(view.workflow_id)


def decide(item: AttentionItem) -> str:
    """Return the command for a run that needs attention."""
    return _way_out(item.view.workflow_id, item.decision, item.obstacle or Obstacle(Cause.ACTIVITY_FAILING))


def _way_out(workflow_id: str, decision: Decision, obstacle: Obstacle) -> str:
    match decision:
        case Decision.RESOLVE:
            return resolve(workflow_id)
        case Decision.WATCH:
            return watch(workflow_id)
        case Decision.CANCEL:
            return f"{called()} cancel {workflow_id}"
        case Decision.START_WORKER if obstacle.lacks_key:
            return "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE=FILE python worker.py"
        case Decision.START_WORKER:
            deployment, _, build = obstacle.build.partition(":")
            named = f"MESSAGE_BATCHES_DEPLOYMENT={deployment} MESSAGE_BATCHES_BUILD_ID={build} " if build else ""
            return f"{named}python worker.py"
        case Decision.REGISTER:
            return setup()
        case Decision.UNPAUSE if obstacle.activity_id:
            return f"temporal activity unpause --workflow-id {workflow_id} --activity-id {obstacle.activity_id}"
        case Decision.UNPAUSE:
            return f"temporal workflow unpause --workflow-id {workflow_id}"


def take_up(submission: ForgottenSubmission) -> str:
    """Return the command that takes a submission up which no run follows."""
    file = _file_of(submission.requests_uri)
    requests = f" --requests {file}" if submission.requests_uri or not submission.batch_id else ""
    batch, key = submission.batch_id or "MSGBATCH_ID", _key_option(submission.api_key)
    return f"{called()} attach {batch}{requests}{key}"


def _file_of(requests_uri: str | None) -> str:
    """Return the file of requests in the store, as a word of a command; `FILE` where there is none on this machine."""
    uri = urlsplit(requests_uri or "")
    return shlex.quote(unquote(uri.path)) if uri.scheme == "file" else "FILE"


def _key_option(api_key: str | None) -> str:
    """Return the option for a key's name, which the default needs not."""
    return f" --key {shlex.quote(api_key)}" if api_key and api_key != DEFAULT_KEY else ""


def schedule(command: str, name: str = "NAME") -> str:
    """Return a command for a schedule."""
    return f"{called()} schedule {command} {name}"


def setup() -> str:
    """Return the command that registers the search attributes."""
    return f"{called()} setup"


def no_worker(task_queue: str) -> str:
    """Say that no worker polls a task queue, and how to start one."""
    return f"No worker polls task queue {task_queue!r}: start one with `python worker.py`; the run waits for it"


def debug() -> str:
    """Say which command shows more about an unexpected error."""
    return f"`{called()} --debug ...` shows more"


def error_text(error: MessageBatchesError) -> str:
    """Return an error's message, followed by its next step if it has one."""
    if isinstance(error, InvalidRequests):
        return _with_step(str(error), error.action)
    if isinstance(error, RunError):
        return _with_step(
            _on_command_line(error),
            error.action,
            workflow_id=error.workflow_id,
            batch_id=error.batch_id,
            api_key=error.api_key,
            requests_uri=error.requests_uri,
        )
    return str(error)


def _on_command_line(error: RunError) -> str:
    """Return an error's message, where the option that it begins with has the form of the command line."""
    option = error.option if isinstance(error, Refused) else None
    return f"--{option.replace('_', '-')}{str(error).removeprefix(option)}" if option else str(error)


def warning_text(warning: PreflightWarning) -> str:
    """Return a warning of requests, followed by its next step if it has one."""
    return _with_step(str(warning), warning.action)


def failure_text(failure: RunFailure) -> str:
    """Return a run's failure message, followed by its next step."""
    return _with_step(failure.message, failure.action, batch_id=failure.batch_id, api_key=failure.api_key)


def _with_step(
    message: str,
    action: NextAction | None,
    *,
    workflow_id: str | None = None,
    batch_id: str | None = None,
    api_key: str | None = None,
    requests_uri: str | None = None,
) -> str:
    if action is None:
        return message
    run, batch, key, file = workflow_id or "ID", batch_id or "MSGBATCH_ID", _key_option(api_key), _file_of(requests_uri)
    if action is NextAction.ATTACH and requests_uri:
        step = f"`{called()} attach {batch} --requests {file}{key}` takes it over"
    else:
        step = _step(action, run, batch, key, file)
    copied = f"; FILE is a copy of {requests_uri}" if requests_uri and file == "FILE" else ""
    return f"{message.rstrip('.')}. {step}{copied}"


def _step(action: NextAction, run: str, batch: str, key: str, file: str) -> str:
    starter = called()
    match action:
        case NextAction.ATTACH:
            return f"`{starter} attach {batch}{key}` takes it over"
        case NextAction.ATTACH_WITH_REQUESTS:
            return f"`{starter} attach {batch} --requests {file}{key}` adds them"
        case NextAction.LAND_AGAIN:
            return f"`{starter} attach {batch} --requests {file}{key}` downloads, checks and lands them again"
        case NextAction.CHECK_BATCHES:
            return (
                f"If one of them is yours, `{starter} attach {batch} --requests {file}{key}` takes it over; if none "
                f"is, `{starter} start {file} --again{key}` submits the requests again, and they are charged again"
            )
        case NextAction.STORE_REQUESTS:
            return f"`{starter} start {file}{key}` puts them into the store first"
        case NextAction.START_WORKER:
            return f"Start a worker (`python worker.py`), check the run (`{starter} status {run}`), and try again"
        case NextAction.CHECK_RUN:
            return f"`{starter} status {run}` shows whether it was, before you try again"
        case NextAction.REPEAT_START:
            return f"`{starter} start {file}{key}` finds it or starts it, and submits nothing twice"
        case NextAction.REPEAT_AGAIN:
            named = f"--again --workflow-id {run}{key}"
            return f"`{starter} start {file} {named}` finds it or starts it, and submits nothing twice"
        case NextAction.MERGE_SO_FAR:
            return f"`{results(run)} --partial` merges what has landed so far; `{watch(run)}` follows it to its end"
        case NextAction.RETRY:
            return f"`{starter} retry {run}` sends what has failed again"
        case NextAction.WATCH:
            return f"`{watch(run)}` follows it to its end"
        case NextAction.LIST_RUNS:
            return f"`{starter} list` shows the runs that there are"
        case NextAction.REGISTER_SEARCH_ATTRIBUTES:
            return f"`{starter} setup` registers it, for runs that begin afterwards"
        case NextAction.GIVE_BETAS:
            return "Remove the betas from the file, and give each in an option of its own: `--beta NAME`"
