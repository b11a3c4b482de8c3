"""Responses of the API: reading a body within bounds, and the error that a response other than 200 stands for."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    AuthenticationFailed,
    BatchNotFound,
    PermissionDenied,
    RateLimited,
    ReplyLost,
    RequestRefused,
    SpendLimitReached,
)

LONGEST_RETRY_AFTER = timedelta(hours=1)
BASE_URL = "ANTHROPIC_BASE_URL, or the key's own"
MAX_BYTES = 8 * 1024 * 1024
"""Most bytes of a decoded body: a page of 1,000 batches takes less than 1 MB, but a few KB may unfold to gigabytes."""

_SPEND_LIMITS = {"enforced_spend_limit_reached", "contract_spend_limit_reached"}
_MESSAGE, _WORD = 500, 100
"""Characters of an answer's texts that an error repeats."""

_OF_THE_TRANSFER = (b"content-encoding", b"content-length", b"transfer-encoding")


async def read_bounded(reply: httpx.Response, secrets: Sequence[str]) -> httpx.Response:
    """Read a response, without the secrets; a body longer than any of this API is cut, and then does not parse."""
    content = bytearray()
    async for chunk in reply.aiter_bytes():
        content += chunk[: MAX_BYTES - len(content)]
        if len(content) == MAX_BYTES:
            break
    return redacted_head(reply, secrets, bytes(content))


def redacted_head(reply: httpx.Response, secrets: Sequence[str], content: bytes = b"") -> httpx.Response:
    """Return a response without the secrets, with the given content as its body."""
    headers = [
        (name, redact(secrets, value)) for name, value in reply.headers.raw if name.lower() not in _OF_THE_TRANSFER
    ]
    return httpx.Response(reply.status_code, headers=headers, content=redact(secrets, content))


def request_id_of(reply: httpx.Response) -> str | None:
    """Return the API's own id of the call."""
    return printable(reply.headers.get("request-id"), _WORD) or None


def error_of(reply: httpx.Response) -> ApiError:
    """Return the `ApiError` for a response other than 200, whether it is the API's JSON or a proxy's HTML."""
    status = reply.status_code
    kind, message, code = _error_body(reply)
    text = f"The API answered {status} {kind}: {message}" if message else f"The API answered {status} {kind}".rstrip()
    facts: dict[str, Any] = {"status": status, "request_id": request_id_of(reply)}
    match status:
        case _ if code in _SPEND_LIMITS:
            return SpendLimitReached(f"{text}. Raise the spend limit or wait for its reset, then start again.", **facts)
        case 401:
            return AuthenticationFailed(f"{text}. Give the worker a valid key of that name and restart it.", **facts)
        case 402:
            return SpendLimitReached(f"{text}. Settle the account's billing, then start again.", **facts)
        case 403:
            return PermissionDenied(f"{text}. Use a key whose workspace may do this.", **facts)
        case 404:
            return BatchNotFound(text, **facts)
        case 429:
            return RateLimited(text, retry_after=_retry_after(reply), **facts)
        case 503 | 529:
            return ApiUnavailable(text, retry_after=_retry_after(reply), **facts)
        case 408 | 409:
            return ApiUnavailable(text, **facts)
        case 413:
            return RequestRefused(f"{text}. The batch is too large for the API: split the requests.", **facts)
        case _ if 300 <= status < 400:
            return RequestRefused(f"{text}: a redirect is not followed. Correct {BASE_URL}.", **facts)
        case _ if 400 <= status < 500:
            return RequestRefused(text, **facts)
        case _ if status >= 500:
            return ApiUnavailable(text, **facts)
        case _:
            return ReplyLost(f"{text}, which this API does not send", **facts)


def date_of(value: str | None) -> datetime | None:
    """Return the time in a header such as `Date`; None if the header is absent or not a time."""
    try:
        date = parsedate_to_datetime(value or "")
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def printable(text: object, most: int = _MESSAGE) -> str:
    """Return a text from outside, cut, without characters that control a terminal."""
    if not isinstance(text, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in text[:most])


def _error_body(reply: httpx.Response) -> tuple[str, str, str | None]:
    """Return type, message and code of the API's error JSON; for anything else its media type."""
    try:
        body = reply.json()
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        media_type = reply.headers.get("content-type", "no content type").partition(";")[0]
        return f"({printable(media_type, _WORD)}, not the API's error form)", "", None
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    kind, message = printable(error.get("type"), _WORD), printable(error.get("message"))
    return kind, message.rstrip("."), code if isinstance(code, str) else None


def _retry_after(reply: httpx.Response) -> timedelta | None:
    """Return `Retry-After`, given in seconds or as a date, at most an hour; None if absent or past."""
    value = reply.headers.get("retry-after", "").strip()
    try:
        wait = timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        date = date_of(value)
        wait = date - datetime.now(UTC) if date else timedelta(0)
    return min(wait, LONGEST_RETRY_AFTER) if wait > timedelta(0) else None


REDACTED = b"[API key]"
MIN_KEY_LENGTH = 8
"""Fewest characters of a key that is redacted: a shorter text is not secret, and occurs in words that must be kept."""


def redact(secrets: Sequence[str], answer: bytes) -> bytes:
    """Replace secrets in a response by another text, also where JSON escapes some of their characters."""
    for secret in secrets:
        if len(secret) >= MIN_KEY_LENGTH:
            spelled = "".join(rf"(?:{re.escape(each)}|\\u(?i:{ord(each):04x})|\\{re.escape(each)})" for each in secret)
            answer = re.sub(spelled.encode(), REDACTED, answer)
    return answer
