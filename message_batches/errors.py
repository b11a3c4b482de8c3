"""One family of errors, and what each says about trying again.

    MessageBatchesError
    ├── InvalidRequests          the requests themselves; nothing was sent
    ├── RequestsNotFound         a `requestsUri` outside the store, or not there
    ├── UnknownKey               a key name that this worker does not hold, or no name at all
    ├── ResultsIncomplete        lines missing, duplicate or foreign, or a stream cut short
    ├── StoreUnavailable         the store did not answer, or is full
    ├── WrongStore               a store of the same name on another machine
    ├── CannotDecrypt            a payload whose key this process does not hold, or that was altered
    └── ApiError
        ├── NotSent              no connection: the API has seen nothing
        ├── ReplyLost            sent, at least in part, and no usable answer
        ├── RateLimited          429
        ├── ApiUnavailable       408, 409, 5xx and 529
        ├── AuthenticationFailed 401
        ├── PermissionDenied     403
        ├── SpendLimitReached    402, and 429 for a spend limit
        ├── BatchNotFound        404
        └── RequestRefused       every other 4xx

The class's name is the failure type that a caller of the workflow sees.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar


class MessageBatchesError(Exception):
    """Something that was expected to go wrong; the message says what, where and what to do next."""

    retryable: ClassVar[bool] = False
    """Whether it passes by itself."""
    outcome_unknown: ClassVar[bool] = False
    """After a POST: whether the batch may exist all the same."""


class InvalidRequests(MessageBatchesError):
    """Requests that the API would refuse, with every problem found; nothing was sent."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class RequestsNotFound(MessageBatchesError):
    """The named requests are outside the configured store, or not in it."""


class UnknownKey(MessageBatchesError):
    """The worker holds no key of that name; the text given is not repeated, it may be a key.

    A worker of the same queue may hold it; a run is refused for it only before anything was sent.
    """

    retryable = True


class ResultsIncomplete(MessageBatchesError):
    """The results lack lines, or hold lines they must not: another download may mend it."""


class StoreUnavailable(MessageBatchesError):
    """The store could not be reached, or could not take more."""

    retryable = True


class WrongStore(MessageBatchesError):
    """This worker's store is not the one the run began with: another worker may hold that one."""

    retryable = True


class NotOurs(MessageBatchesError):
    """The batch is another run's: nothing is decided about it, and nothing done to it."""


class CannotDecrypt(MessageBatchesError):
    """A payload that this process has no key for, or that is not what was encrypted; another worker may have the key.

    Attributes:
        key_id: of the key that is wanted.
    """

    retryable = True

    def __init__(self, message: str, *, key_id: str) -> None:
        super().__init__(message)
        self.key_id = key_id


class ApiError(MessageBatchesError):
    """An answer other than 200, or none.

    Attributes:
        status: the HTTP status, None without an answer.
        request_id: the API's own id of the call, where it gave one.
        retry_after: how long the API asks to wait, None if it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(f"{message} (request {request_id})" if request_id else message)
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class NotSent(ApiError):
    """No connection was made."""

    retryable = True


class ReplyLost(ApiError):
    """The connection broke, timed out, or carried an answer that makes no sense."""

    retryable = True
    outcome_unknown = True


class RateLimited(ApiError):
    """429: too many calls a minute, or too many requests in the queue."""

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
    """402, or 429 for a spend limit: waiting does not help before the limit is raised or reset."""


class BatchNotFound(ApiError):
    """404: no such batch in the key's workspace, or not visible just now: real batches answer so now and then."""

    retryable = True


class RequestRefused(ApiError):
    """Any other 4xx: the call must be changed before it is made again."""


def _family(base: type[MessageBatchesError]) -> dict[str, type[MessageBatchesError]]:
    members = {base.__name__: base}
    for member in base.__subclasses__():
        members |= _family(member)
    return members


BY_NAME = _family(MessageBatchesError)
"""The family by failure type, for reading what an activity raised."""
