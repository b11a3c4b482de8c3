"""One family of errors, and whether a retry can help for each of them.

    MessageBatchesError
    ├── InvalidRequests          the requests themselves; nothing was sent
    ├── CostLimitExceeded        requests that may cost more than a limit; nothing is sent
    ├── RequestsNotFound         a `requestsUri` outside the store, or not there
    ├── BaseUnusable             the base of a job has not landed, is gone, or is another account's; nothing was sent
    ├── WorkersLost              workers ended while they checked the requests; nothing was sent
    ├── UnknownKey               a key name that this worker does not hold, or text that is not a key name
    ├── UnknownWebhook           a webhook that this worker does not have
    ├── ResultsIncomplete        lines missing, duplicate or foreign, or a stream cut short
    │   └── OwnerUndecided       whole results of which some cannot be answers to the requests, and most can
    ├── StoreUnavailable         the store did not answer, or is full
    ├── WrongStore               a store of the same name on another machine
    ├── OwnedByAnotherRun        another run's batch
    ├── OtherWorkspace           the key is of another account than the one that the submission began with
    ├── SentByAnotherRun         the same requests may be under way in another run
    ├── CannotDecrypt            a payload whose key this process does not hold, or that was altered
    └── ApiError
        ├── NotSent              no connection: the API has seen nothing
        ├── ReplyLost            sent, at least in part, but no usable answer
        ├── RateLimited          429
        ├── RefusedForNow        another 4xx for a reason that passes by itself
        ├── ApiUnavailable       408, 409, 5xx and 529
        ├── AuthenticationFailed 401
        ├── PermissionDenied     403
        ├── SpendLimitReached    402, and 400 or 429 for a low credit balance or a spend limit
        ├── BatchNotFound        404
        ├── ResultsArchived      a 4xx for the results of a batch that is archived
        └── RequestRefused       every other 4xx

The class's name is the failure type that a caller of the workflow sees.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from message_batches.contract import NextAction


class MessageBatchesError(Exception):
    """An expected failure; the message says what failed, where, and what to do next."""

    retryable: ClassVar[bool] = False
    """Whether a retry can succeed without any change."""
    outcome_unknown: ClassVar[bool] = False
    """After a POST: whether the batch may exist in spite of the error."""


def why(error: OSError) -> str:
    """Return why a file cannot be used, and for which user: in a container it is another than outside."""
    reason = error.strerror or str(error)
    return f"{reason} for user id {os.geteuid()}" if isinstance(error, PermissionError) else reason


class InvalidRequests(MessageBatchesError):
    """Requests that the API would refuse, with every problem found; nothing was sent.

    Attributes:
        problems: each with its line and field.
        action: the next step, None where the problems say all there is.
    """

    def __init__(self, message: str, problems: Sequence[str] = (), action: NextAction | None = None) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        self.action = action


class CostLimitExceeded(MessageBatchesError):
    """Requests that may cost more than a limit, or for which that is not wholly known; nothing is sent.

    Attributes:
        estimate: what they may cost, in USD; None if that is not known.
        limit: the most that they may cost, in USD.
    """

    def __init__(self, message: str, *, estimate: Decimal | None, limit: Decimal) -> None:
        super().__init__(message)
        self.estimate = estimate
        self.limit = limit


class RequestsNotFound(MessageBatchesError):
    """The named requests are outside the configured store, or not in it."""


class BaseUnusable(MessageBatchesError):
    """The run or job that a job is to begin with has not landed, is gone, or is another account's; nothing was sent."""


class WorkersLost(MessageBatchesError):
    """Several workers in a row ended while they checked the requests, which may be the reason; nothing was sent."""


class UnknownKey(MessageBatchesError):
    """The worker holds no key of that name; the given text is not repeated, since it may be a key.

    Another worker of the same queue may hold it; it ends a run only before anything was sent.
    """

    retryable = True


class UnknownWebhook(MessageBatchesError):
    """The worker has no webhook of that name; another one may. It ends a run only before anything was sent."""

    retryable = True


class ResultsIncomplete(MessageBatchesError):
    """The results lack lines, or have lines that they must not have; another download may be complete."""


class OwnerUndecided(ResultsIncomplete):
    """Whole results, of which too few contradict the requests to be another's: another download says the same."""


class StoreUnavailable(MessageBatchesError):
    """The store could not be reached, or could not take more."""

    retryable = True


class WrongStore(MessageBatchesError):
    """This worker's store is not the one that the run started with; another worker may have that one."""

    retryable = True


class OwnedByAnotherRun(MessageBatchesError):
    """The batch belongs to another run; it was left as it is."""


class OtherWorkspace(MessageBatchesError):
    """The key belongs to another organization or workspace than the one that the submission began with."""


class SentByAnotherRun(MessageBatchesError):
    """Another run with this workflow id may be sending the same requests just now; nothing was sent by this one."""

    retryable = True


class CannotDecrypt(MessageBatchesError):
    """A payload was altered, or this process does not hold its key; another worker may have that.

    Attributes:
        key_id: the id of the key that is needed.
    """

    retryable = True

    def __init__(self, message: str, *, key_id: str) -> None:
        super().__init__(message)
        self.key_id = key_id


class ApiError(MessageBatchesError):
    """A response other than 200, or none.

    Attributes:
        status: the HTTP status, None without a response.
        request_id: the API's own id of the call, None if it gave none.
        retry_after: how long the API asks to wait, None if it does not say.
        by_api: whether the response is the API's own; otherwise a gateway's, after which the API may still be at work.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: timedelta | None = None,
        by_api: bool = True,
    ) -> None:
        super().__init__(f"{message} (request {request_id})" if request_id else message)
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.by_api = by_api


class NotSent(ApiError):
    """No connection was made."""

    retryable = True


class ReplyLost(ApiError):
    """The connection broke, timed out, or carried a response that is not valid."""

    retryable = True
    outcome_unknown = True


class RateLimited(ApiError):
    """429: too many calls a minute, or too many requests in the queue."""

    retryable = True


class RefusedForNow(ApiError):
    """Another 4xx for a reason that passes by itself, such as an overload: refused, so a POST has created nothing."""

    retryable = True


class ApiUnavailable(ApiError):
    """408, 409, 5xx, 529: the API could not answer now."""

    retryable = True
    outcome_unknown = True


class AuthenticationFailed(ApiError):
    """401: the key is not valid."""


class PermissionDenied(ApiError):
    """403: the key may not do this."""


class SpendLimitReached(ApiError):
    """402, or 400 or 429 for the account's money: a retry does not help before it is topped up, raised or reset."""


class BatchNotFound(ApiError):
    """404: no such batch in the key's workspace, or one that is temporarily not visible, which occasionally happens.

    Attributes:
        batch_is_there: only its results are not.
    """

    retryable = True

    def __init__(self, message: str, *, batch_is_there: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.batch_is_there = batch_is_there


class ResultsArchived(ApiError):
    """A 4xx for the results of a batch that is archived: nothing is to be had of it any more."""


class RequestRefused(ApiError):
    """Any other 4xx: the call must be changed before it is made again."""


def _family(base: type[MessageBatchesError]) -> dict[str, type[MessageBatchesError]]:
    members = {base.__name__: base}
    for member in base.__subclasses__():
        members |= _family(member)
    return members


ERRORS_BY_NAME = _family(MessageBatchesError)
"""The errors by failure type, to read which one an activity raised."""


class RunError(MessageBatchesError):
    """Something asked of a run that was not done: raised by `message_batches.runs`, never by a run itself.

    Attributes:
        action: the next step for an operator, None where the message says all there is.
        workflow_id: the run that the step is about.
        batch_id: the batch that the step is about.
        candidates: batches that may be the run's, where that is undecided.
        api_key: the name of the key that the step needs, where it is known.
        requests_uri: the requests that the step needs, where the store has them.
    """

    def __init__(
        self,
        message: str,
        action: NextAction | None = None,
        *,
        workflow_id: str | None = None,
        batch_id: str | None = None,
        candidates: Sequence[str] = (),
        api_key: str | None = None,
        requests_uri: str | None = None,
    ) -> None:
        super().__init__(message)
        self.action = action
        self.workflow_id = workflow_id
        self.batch_id = batch_id
        self.candidates = tuple(candidates)
        self.api_key = api_key
        self.requests_uri = requests_uri


class ExtraMissing(MessageBatchesError, ImportError):
    """A part of this package needs libraries that are not installed; the message has the command that installs them."""
