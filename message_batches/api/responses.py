"""Responses of the API: the texts that are shown of them, and the error that a response other than 200 stands for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
import msgspec
import pydantic

from message_batches.api.bodies import MAX_OBJECT, parse, text_of
from message_batches.api.models import ApiModel, KeyOwner
from message_batches.api.redaction import redact, shown
from message_batches.api.transport import PROXY
from message_batches.concurrency import run_in_thread
from message_batches.error_causes import ErrorCause, cause_of
from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    AuthenticationFailed,
    BatchNotFound,
    NotSent,
    PermissionDenied,
    RateLimited,
    RefusedForNow,
    ReplyLost,
    RequestRefused,
    SpendLimitReached,
)
from message_batches.jsonl import MAX_BODY_BYTES

_WireT = TypeVar("_WireT", bound=ApiModel)

LONGEST_RETRY_AFTER = timedelta(hours=1)
BASE_URL = "ANTHROPIC_BASE_URL, or the key's own"
_HINTS = {
    "workspace_human_review_disabled": "Use a key of a workspace that has human review on, or turn it on in this one",
    "cmek_key_disabled": "Enable the workspace's own encryption key again, then start again",
    "cmek_key_network_blocked": "Let Anthropic reach the workspace's own encryption key, then start again",
    "claude_code_key_creator_not_member": "Use a key of a member of the workspace, not Claude Code's",
    "organization_on_hold": "Anthropic has disabled the organization: its owner can appeal",
}
"""The next step for codes that are about the account, as the official client 2.14 describes them."""

_MESSAGE, _WORD, _NAME = 500, 100, 40
"""Characters of an answer's texts that an error repeats."""

_MOST_MISFITS = 3
"""The fields that an error names: a page of the list may have thousands that do not fit."""


def request_id_of(reply: httpx.Response, secrets: Sequence[str] = ()) -> str | None:
    """Return the API's own id of the call."""
    return shown(reply.headers.get("request-id"), secrets, _WORD) or None


_OWNER = ("anthropic-organization-id", "anthropic-workspace-id")


def owner_of(reply: httpx.Response, secrets: Sequence[str]) -> KeyOwner:
    """Return the organization and the workspace that the call's key belongs to."""
    return _owner_in(_owner_headers(reply), secrets)


class KeyOwners:
    """The owners of keys, as the answers so far have named them."""

    def __init__(self) -> None:
        self._headers: dict[str, tuple[Sequence[str], Sequence[str | None]]] = {}

    def add(self, key: str, secrets: Sequence[str], reply: httpx.Response) -> None:
        """Take in an answer to a call with a key; one that names no owner, such as a gateway's, takes none back."""
        headers = _owner_headers(reply)
        if any(headers) or key not in self._headers or self._headers[key][0] != secrets:
            self._headers[key] = secrets, headers

    def get(self, key: str, secrets: Sequence[str]) -> KeyOwner | None:
        """Return the owner of a key; None without an answer, which a key that has been replaced since has not had."""
        asked, headers = self._headers.get(key, ((), ()))
        return _owner_in(headers, secrets) if asked == secrets else None


def _owner_headers(reply: httpx.Response) -> Sequence[str | None]:
    return [reply.headers.get(name) for name in _OWNER]


def _owner_in(headers: Sequence[str | None], secrets: Sequence[str]) -> KeyOwner:
    return KeyOwner(*(shown(value, secrets, _WORD) or None for value in headers))


@dataclass(frozen=True)
class _ErrorBody:
    """What a body says of an error, and who says it: a gateway, where it is not in the API's form.

    Attributes:
        source: the API, or a gateway as far as its answer names it.
    """

    source: str = "The API"
    kind: str = ""
    message: str = ""
    code: str | None = None

    @property
    def from_gateway(self) -> bool:
        return self.source != _ErrorBody.source


def error_of(reply: httpx.Response, secrets: Sequence[str] = (), *, sent: int | None = None) -> ApiError:
    """Return the `ApiError` for a response other than 200, whether it is the API's JSON or a gateway's HTML.

    Args:
        reply: the response, with its body.
        secrets: the texts that it must not repeat.
        sent: the bytes of the request's body, where that is large.
    """
    status = reply.status_code
    body = _error_body(reply, secrets)
    cause = cause_of(body.kind, body.message, body.code)
    # As a whole again: half of a key may be the type, and the other half the message.
    text = redact(f"{body.source} answered {status} {body.kind}: {body.message}".rstrip(": "), secrets)
    facts: dict[str, Any] = {
        "status": status,
        "request_id": request_id_of(reply, secrets),
        "by_api": not body.from_gateway,
    }
    if 400 <= status < 500 and cause is ErrorCause.MONEY:
        return SpendLimitReached(
            f"{text}. Add credit, raise the spend limit or wait for its reset, then start again.", **facts
        )
    match status:
        case 401 | 403 if body.from_gateway:
            kind = AuthenticationFailed if status == 401 else PermissionDenied
            return kind(f"{text}. It refuses the call by itself: ask who runs it, or correct {BASE_URL}.", **facts)
        case 401:
            return AuthenticationFailed(f"{text}. Give the worker a valid key of that name and restart it.", **facts)
        case 402:
            return SpendLimitReached(f"{text}. Settle the account's billing, then start again.", **facts)
        case 403:
            return PermissionDenied(f"{text}. Use a key whose workspace may do this.", **facts)
        case 404:
            return BatchNotFound(text, **facts)
        case 429:
            return RateLimited(text, retry_after=retry_after_of(reply), **facts)
        case 503 | 529:
            return ApiUnavailable(text, retry_after=retry_after_of(reply), **facts)
        case 408 | 409:
            return ApiUnavailable(text, **facts)
        case 413:
            return RequestRefused(f"{text}. {_too_large(body, sent)}.", **facts)
        case _ if 300 <= status < 400:
            return RequestRefused(f"{text}: a redirect is not followed. Correct {BASE_URL}.", **facts)
        case _ if 400 <= status < 500 and cause is ErrorCause.PASSING:
            return RefusedForNow(text, retry_after=retry_after_of(reply), **facts)
        case _ if 400 <= status < 500 and cause is ErrorCause.ACCESS:
            hint = _HINTS.get(body.code or "", "Settle that, or use a key of another workspace, then start again")
            return RequestRefused(f"{text}. {hint}.", **facts)
        case _ if 400 <= status < 500:
            return RequestRefused(text, **facts)
        case _ if status >= 500:
            return ApiUnavailable(text, **facts)
        case _:
            return ReplyLost(f"{text}, which this API does not send", **facts)


def describe_misfit(
    reply: httpx.Response, name: str, error: ValueError | RecursionError, secrets: Sequence[str]
) -> str:
    """Return why a 200 cannot be used: the fields that do not fit, by path and by what was expected, never by value."""
    match error:
        case pydantic.ValidationError():
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            misfits = [(".".join(map(str, each["loc"])), each["msg"]) for each in errors]
        case msgspec.ValidationError():
            # Such as "Expected `array`, got `object` - at `$.data`".
            expected, _, path = str(error).partition(" - at ")
            misfits = [(path.strip("`").removeprefix("$").removeprefix("."), expected)]
        case _:
            return f"{_gateway(reply, secrets)} answered 200"
    named = [f"{path or 'the whole'} ({expected})" for path, expected in misfits[:_MOST_MISFITS]]
    more = f" and {len(misfits) - len(named):,} more" if len(misfits) > len(named) else ""
    return f"The API answered 200 with an invalid {name}: {', '.join(named)}{more}"


def _too_large(body: _ErrorBody, sent: int | None) -> str:
    """Return what a 413 says about the sizes: a gateway may take less than the API does."""
    size = f" of {sent:,} bytes" if sent is not None else ""
    also = ", or raise the gateway's limit" if body.from_gateway and (sent or 0) <= MAX_BODY_BYTES else ""
    return f"The body{size} is too large; the API itself takes {MAX_BODY_BYTES:,} bytes. Split the requests{also}"


def date_of(value: str | None) -> datetime | None:
    """Return the time in a header such as `Date`; None if the header is absent or not a time."""
    try:
        date = parsedate_to_datetime(value or "")
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _error_body(reply: httpx.Response, secrets: Sequence[str]) -> _ErrorBody:
    """Return type, message and code of an error's JSON, as far as there are any."""
    body = _json_of(reply)
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return _ErrorBody(_gateway(reply, secrets))
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    return _ErrorBody(
        _ErrorBody.source if body.get("type") == "error" else _gateway(reply, secrets),
        kind=shown(error.get("type"), secrets, _WORD),
        message=shown(error.get("message"), secrets, _MESSAGE).rstrip("."),
        code=code if isinstance(code, str) else None,
    )


def _gateway(reply: httpx.Response, secrets: Sequence[str]) -> str:
    """Name the program that has answered in place of the API, as far as its headers tell."""
    media_type = reply.headers.get("content-type", "no content type").partition(";")[0]
    server = shown(reply.headers.get("server"), secrets, _NAME)
    named = f"A gateway ({server})" if server else "A gateway"
    if PROXY in reply.extensions:
        named = f"{named}, or the proxy {reply.extensions[PROXY]} in between,"
    return f"{named} in place of the API, with {shown(media_type, secrets, _NAME)} and not the API's form,"


def _json_of(reply: httpx.Response) -> Any:
    """Return the body as JSON; None if it is none."""
    try:
        return json.loads(text_of(reply.content)) if len(reply.content) <= MAX_OBJECT else None
    except (ValueError, RecursionError):
        return None


def retry_after_of(reply: httpx.Response) -> timedelta | None:
    """Return `Retry-After`, given in seconds or as a date, at most an hour; None if absent or past."""
    value = reply.headers.get("retry-after", "").strip()
    try:
        wait = timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        date = date_of(value)
        wait = date - datetime.now(UTC) if date else timedelta(0)
    return min(wait, LONGEST_RETRY_AFTER) if wait > timedelta(0) else None


_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
_DETAIL = 500
"""Characters that are repeated of what is wrong with a connection."""


def transport_error(error: httpx.HTTPError, hidden: Sequence[str]) -> ApiError:
    """Return the error that a connection without a whole answer stands for."""
    # The error's text repeats a line that is not HTTP.
    detail = shown(str(error), hidden, _DETAIL) or type(error).__name__
    if isinstance(error, _NEVER_SENT):
        return NotSent(f"No connection to the API: {detail}")
    if isinstance(error, httpx.DecodingError):
        return ReplyLost(f"The answer cannot be read: {detail}")
    return ReplyLost(f"The connection to the API was lost: {detail}")


@contextmanager
def there(what: str = "Message Batches API") -> Iterator[None]:
    """Raise `RequestRefused` on a 404 for the collection itself: it is not about a batch."""
    try:
        yield
    except BatchNotFound as error:
        raise RequestRefused(f"{error}. Correct {BASE_URL}: no {what} is there.") from error


async def parsed(reply: httpx.Response, model: type[_WireT], hidden: Sequence[str]) -> _WireT:
    """Return the object in a response; `ReplyLost` if it does not fit."""
    try:
        if len(reply.content) <= MAX_OBJECT:
            return parse(model, reply.content, hidden)
        found: _WireT = await run_in_thread(lambda: parse(model, reply.content, hidden))
        return found
    except (ValueError, RecursionError) as error:
        why = describe_misfit(reply, model.__name__, error, hidden)
        raise ReplyLost(why, status=200, request_id=request_id_of(reply, hidden)) from error
