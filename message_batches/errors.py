"""One family of errors, and whether a retry can help for each of them.

    MessageBatchesError
    ├── InvalidRequests          the requests themselves; nothing was sent
    ├── RequestsNotFound         a `requestsUri` outside the store, or not there
    ├── UnknownKey               a key name that this worker does not hold, or text that is not a key name
    ├── ResultsIncomplete        lines missing, duplicate or foreign, or a stream cut short
    ├── StoreUnavailable         the store did not answer, or is full
    ├── WrongStore               a store of the same name on another machine
    ├── OwnedByAnotherRun        another run's batch
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
        ├── ResultsArchived      404 for the results of a batch that is archived
        └── RequestRefused       every other 4xx

The class's name is the failure type that a caller of the workflow sees.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar

from message_batches.contract import NextAction


class MessageBatchesError(Exception):
    """An expected failure; the message says what failed, where, and what to do next."""

    retryable: ClassVar[bool] = False
    """Whether a retry can succeed without any change."""
    outcome_unknown: ClassVar[bool] = False
    """After a POST: whether the batch may exist in spite of the error."""


class InvalidRequests(MessageBatchesError):
    """Requests that the API would refuse, with every problem found; nothing was sent."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class RequestsNotFound(MessageBatchesError):
    """The named requests are outside the configured store, or not in it."""


class UnknownKey(MessageBatchesError):
    """The worker holds no key of that name; the given text is not repeated, since it may be a key.

    Another worker of the same queue may hold it; it ends a run only before anything was sent.
    """

    retryable = True


class ResultsIncomplete(MessageBatchesError):
    """The results lack lines, or have lines that they must not have; another download may be complete."""


class StoreUnavailable(MessageBatchesError):
    """The store could not be reached, or could not take more."""

    retryable = True


class WrongStore(MessageBatchesError):
    """This worker's store is not the one that the run started with; another worker may have that one."""

    retryable = True


class OwnedByAnotherRun(MessageBatchesError):
    """The batch belongs to another run; it was left as it is."""


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


BATCH_IS_THERE = "batchIsThere"
"""A detail of the failure for a `BatchNotFound`: only the results of the batch are missing."""


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
    """404 for the results of a batch that is archived: nothing is to be had of it any more."""


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
    """

    def __init__(
        self,
        message: str,
        action: NextAction | None = None,
        *,
        workflow_id: str | None = None,
        batch_id: str | None = None,
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.action = action
        self.workflow_id = workflow_id
        self.batch_id = batch_id
        self.candidates = tuple(candidates)


class ErrorCause(StrEnum):
    """The cause of an error of the API, which decides whether the same request may be sent again."""

    REQUEST = "request"
    """The request itself: it gets the same answer until it is corrected."""
    PASSING = "passing"
    """A condition that passes by itself: the request may be sent again as it is."""
    MONEY = "money"
    """Credit or a spend limit: the request may be sent again as it is, once that is settled."""
    ACCESS = "access"
    """The key, the workspace or the organization: the request may be sent again as it is, once that is settled."""
    UNKNOWN = "unknown"
    """A type that is not known here: a result's request may be sent again as it is, a call goes by its status."""


# The `details.error_code` of the API's errors, as the official client 2.14 lists them with their meaning.
_CAUSE_BY_CODE = {
    "enforced_spend_limit_reached": ErrorCause.MONEY,
    "contract_spend_limit_reached": ErrorCause.MONEY,
    "linked_organization_spend_limit_reached": ErrorCause.MONEY,
    "linked_organization_billing_unavailable": ErrorCause.MONEY,
    "organization_on_hold": ErrorCause.ACCESS,
    "organization_type_not_supported": ErrorCause.ACCESS,
    "claude_code_key_creator_not_member": ErrorCause.ACCESS,
    "cmek_key_disabled": ErrorCause.ACCESS,
    "cmek_key_network_blocked": ErrorCause.ACCESS,
    "workspace_human_review_disabled": ErrorCause.ACCESS,
    "cmek_context_unavailable": ErrorCause.PASSING,
    "cmek_key_unreachable": ErrorCause.PASSING,
    "ramp_limit_exceeded": ErrorCause.PASSING,
}

# The types that say all by themselves, by the API's page on errors. The guide on batches has only two types that are to
# be corrected, `invalid_request_error` and the `not_found_error` of a model; but what is too large stays too large.
_CAUSE_BY_TYPE = {
    "request_too_large": ErrorCause.REQUEST,
    "billing_error": ErrorCause.MONEY,
    "authentication_error": ErrorCause.ACCESS,
    "permission_error": ErrorCause.ACCESS,
    "api_error": ErrorCause.PASSING,
    "overloaded_error": ErrorCause.PASSING,
    "timeout_error": ErrorCause.PASSING,
    "rate_limit_error": ErrorCause.PASSING,
}

# The types that are also given to what is no fault of the request, so that the message decides. Some words of it, not
# the whole sentence: the API's wording changes.
_TYPES_TO_READ_ON = ("invalid_request_error", "not_found_error")
_MONEY = re.compile(
    # 400 "Your credit balance is too low to access the Anthropic API. ...": anthropics/claude-code#66314, and more.
    r"credit balance is too low"
    # 400 "You have reached your specified API usage limits. You will regain access on ...", or "... workspace API usage
    # limits ...": anthropics/claude-code#38035. By the API's page on errors it is the spend limit that a user has set.
    r"|reached your (?:specified|workspace)\b[^.]{0,40} usage limits?"
    # 429 "This request would exceed your organization's monthly spend limit.": the API's page on rate limits.
    r"|(?:exceed|reached)\b[^.]{0,60} spend(?:ing)? limit"
)
_ACCESS = re.compile(
    # 400 "This organization has been disabled.": anthropics/claude-code#72457.
    r"\borganization has been disabled"
)
_PASSING = re.compile(
    # "Unable to download the file. Please verify the URL and try again." and its kin for images and documents, after a
    # source that did not answer in time: the reference of batches has fetches that fail when the request is processed.
    r"(?:unable to|could not|couldn't|cannot|failed to|fail(?:ed|ure|s)?|error|timed out|timeout)"
    r"(?: while| when| in)? (?:be )?(?:download|fetch|retriev|reach|connect)"
    r"|(?:download|fetch|retriev|connecti)\w* (?:of .{0,200} )?(?:failed|timed out|refused|reset)"
    # The messages of `overloaded_error` and `api_error` under another type: anthropics/claude-code#4151 has both.
    r"|^overloaded\W*$|\b(?:is|are|temporarily|currently) overloaded\b"
    r"|\binternal (?:server |service )?error\b|\binternal to anthropic"
    # The messages of 429, 503 and 504, by the API's page on errors.
    r"|\btry again (?:later|in )|\b(?:temporarily|service) unavailable\b|\brequest timed out\b"
)
_NOT_A_MODEL = re.compile(
    r"^(?!(?:the |requested )*model\b).*?\b(?:file|image|document|container|skill|resource|url)s?(?:\b|_)"
)
_READ = 500
"""Characters of a message that are read: a search in them takes no time, whatever they are."""


def cause_of(kind: str, message: str, code: str | None = None) -> ErrorCause:
    """Return the cause of an error that the API gives, whole calls and results of a batch alike.

    Args:
        kind: the error's type.
        message: its message.
        code: its `details.error_code`, which goes first; None if it has none.
    """
    if code in _CAUSE_BY_CODE:
        return _CAUSE_BY_CODE[code]
    text = message[:_READ].casefold().strip()
    if _MONEY.search(text):
        return ErrorCause.MONEY
    if kind not in _TYPES_TO_READ_ON:
        return _CAUSE_BY_TYPE.get(kind, ErrorCause.UNKNOWN)
    if _ACCESS.search(text):
        return ErrorCause.ACCESS
    if _PASSING.search(text):
        return ErrorCause.PASSING
    if kind == "not_found_error" and _NOT_A_MODEL.search(text):
        return ErrorCause.UNKNOWN
    return ErrorCause.REQUEST
