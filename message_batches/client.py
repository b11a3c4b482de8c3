"""The Message Batches API over httpx: one call each, no retries, no logging of bodies."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    AuthenticationFailed,
    BatchNotFound,
    NotSent,
    PermissionDenied,
    RateLimited,
    ReplyLost,
    RequestRefused,
    SpendLimitReached,
)
from message_batches.models import Account
from message_batches.settings import ApiKeys
from message_batches.wire import BatchPage, MessageBatch, Wire

PATH = "/v1/messages/batches"
LONGEST_RETRY_AFTER = timedelta(hours=1)

TIMEOUT = httpx.Timeout(60, connect=10)
# The API reads a whole body of up to 256 MB before it answers, and may take as long to gather 100,000 results.
LONG_TIMEOUT = httpx.Timeout(600, connect=10)
# httpx costs twice the CPU a request at 100 connections as at one.
LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=20)

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
_BASE_URL = "ANTHROPIC_BASE_URL, or the key's own"
_SPEND_LIMITS = {"enforced_spend_limit_reached", "contract_spend_limit_reached"}
_WireT = TypeVar("_WireT", bound=Wire)


def http_client(base_url: str | httpx.URL, *, timeout: httpx.Timeout = TIMEOUT) -> httpx.AsyncClient:
    """The connection pool that a worker shares; redirects are not followed, a key must not travel."""
    agent = f"message-batches/{version('message-batches')}"
    return httpx.AsyncClient(
        base_url=base_url, timeout=timeout, limits=LIMITS, headers={"user-agent": agent}, follow_redirects=False
    )


class HttpBatchApi:
    """The `BatchApi` port over one shared httpx client."""

    def __init__(self, http: httpx.AsyncClient, keys: ApiKeys) -> None:
        self._http = http
        self._keys = keys

    def check(self, account: Account) -> None:
        """Raise `UnknownKey` unless the account's key is held."""
        self._keys.secret(account.api_key)

    async def create(self, account: Account, body: AsyncIterable[bytes], length: int) -> MessageBatch:
        """POST a body of exactly `length` bytes, as it is produced.

        It gets a connection of its own: one that was kept and has just been closed would look like a lost reply.
        """
        headers = {"content-type": "application/json", "content-length": str(length)}
        if account.anthropic_beta:
            headers["anthropic-beta"] = ",".join(account.anthropic_beta)
        headers |= self._headers(account)
        async with http_client(self._http.base_url, timeout=LONG_TIMEOUT) as http:
            with _there():
                url = self._url(account, PATH)
                return _parsed(await _answer(http.request("POST", url, headers=headers, content=body)), MessageBatch)

    async def retrieve(self, account: Account, batch_id: str) -> MessageBatch:
        """GET a batch."""
        return _parsed(await self._call("GET", _path(batch_id), account), MessageBatch)

    async def list(self, account: Account, *, limit: int, after_id: str | None = None) -> BatchPage:
        """GET a page of batches, newest first, older than `after_id`."""
        params = {"limit": str(limit)} | ({"after_id": after_id} if after_id else {})
        with _there():
            reply = await self._call("GET", PATH, account, params=params)
        return _parsed(reply, BatchPage).model_copy(update={"date": _date(reply.headers.get("date"))})

    async def cancel(self, account: Account, batch_id: str) -> MessageBatch:
        """POST to a batch's `/cancel`."""
        return _parsed(await self._call("POST", f"{_path(batch_id)}/cancel", account), MessageBatch)

    @asynccontextmanager
    async def results(self, account: Account, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET the results as chunks of JSONL, decoded from any transfer compression; a cut raises `ReplyLost`."""
        headers = self._headers(account) | {"accept-encoding": "identity"}
        url = self._url(account, f"{_path(batch_id)}/results")
        try:
            async with self._http.stream("GET", url, headers=headers, timeout=LONG_TIMEOUT) as reply:
                if reply.status_code != httpx.codes.OK:
                    await reply.aread()
                    raise error_of(reply)
                yield reply.aiter_bytes()
        except httpx.HTTPError as error:
            raise _transport_error(error) from error

    async def _call(self, method: str, path: str, account: Account, **options: Any) -> httpx.Response:
        url = self._url(account, path)
        return await _answer(self._http.request(method, url, headers=self._headers(account), **options))

    def _url(self, account: Account, path: str) -> str:
        """Whole where the key has a base URL of its own."""
        return f"{self._keys.base_urls.get(account.api_key, '')}{path}"

    def _headers(self, account: Account) -> dict[str, str]:
        key = self._keys.secret(account.api_key).get_secret_value()
        return {"x-api-key": key, "anthropic-version": account.anthropic_version}


async def _answer(call: Awaitable[httpx.Response]) -> httpx.Response:
    try:
        reply = await call
    except httpx.HTTPError as error:
        raise _transport_error(error) from error
    if reply.status_code != httpx.codes.OK:
        raise error_of(reply)
    return reply


def error_of(reply: httpx.Response) -> ApiError:
    """The `ApiError` for an answer other than 200, whether it is the API's JSON or a proxy's HTML."""
    status = reply.status_code
    kind, message, code = _error_body(reply)
    request_id = reply.headers.get("request-id")
    text = f"The API answered {status} {kind}: {message}" if message else f"The API answered {status} {kind}".rstrip()
    facts: dict[str, Any] = {"status": status, "request_id": request_id}
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
            return RequestRefused(f"{text}: a redirect is not followed. Mend {_BASE_URL}.", **facts)
        case _ if 400 <= status < 500:
            return RequestRefused(text, **facts)
        case _ if status >= 500:
            return ApiUnavailable(text, **facts)
        case _:
            return ReplyLost(f"{text}, which this API does not send", **facts)


@contextmanager
def _there() -> Iterator[None]:
    """A 404 for the collection itself is not about a batch."""
    try:
        yield
    except BatchNotFound as error:
        raise RequestRefused(f"{error}. Mend {_BASE_URL}: no Message Batches API is there.") from error


def _parsed(reply: httpx.Response, model: type[_WireT]) -> _WireT:
    try:
        return model.model_validate_json(reply.content)
    except ValidationError as error:
        raise ReplyLost(
            f"The API answered 200 with a body that is no {model.__name__}: {error.error_count()} fields do not fit",
            status=200,
            request_id=reply.headers.get("request-id"),
        ) from error


def _transport_error(error: httpx.HTTPError) -> ApiError:
    detail = str(error) or type(error).__name__
    if isinstance(error, _NEVER_SENT):
        return NotSent(f"No connection to the API: {detail}")
    return ReplyLost(f"The connection to the API was lost: {detail}")


def _error_body(reply: httpx.Response) -> tuple[str, str, str | None]:
    """Type, message and code of the API's error JSON; for anything else its media type."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        media_type = reply.headers.get("content-type", "no content type").partition(";")[0]
        return f"({media_type}, not the API's error form)", "", None
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    return str(error.get("type", "")), str(error.get("message", ""))[:500].rstrip("."), code


def _retry_after(reply: httpx.Response) -> timedelta | None:
    """`Retry-After` in seconds or as a date, at most an hour; None if absent or past."""
    value = reply.headers.get("retry-after", "").strip()
    try:
        wait = timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        date = _date(value)
        wait = date - datetime.now(UTC) if date else timedelta(0)
    return min(wait, LONGEST_RETRY_AFTER) if wait > timedelta(0) else None


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _path(batch_id: str) -> str:
    return f"{PATH}/{quote(batch_id, safe='')}"
