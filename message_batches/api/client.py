"""The Message Batches API over httpx: each method makes one call, retries nothing and logs no body."""

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, ClassVar

import httpx

from message_batches import __version__, spans
from message_batches.api.bodies import MAX_OBJECT, MAX_PAGE, kept_up, read_bounded, received, unpacked
from message_batches.api.keys import Account, ApiKeys
from message_batches.api.models import (
    BATCH_ID_PATTERN,
    ApiProfile,
    BatchPage,
    DeletedBatch,
    KeyOwner,
    MessageBatch,
    ModelInfo,
    TokenCount,
)
from message_batches.api.network import DIRECT, Network
from message_batches.api.pace import CallPace
from message_batches.api.responses import (
    KeyOwners,
    date_of,
    error_of,
    owner_of,
    parsed,
    request_id_of,
    there,
    transport_error,
)
from message_batches.api.transport import ALONE, PROXY, Transport
from message_batches.errors import BatchNotFound, ReplyLost, RequestRefused
from message_batches.log_context import log_request_id

PATH = "/v1/messages/batches"
MODELS = "/v1/models"
COUNT_TOKENS = "/v1/messages/count_tokens"
COUNTED_PARAMS = (
    *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"),
    "mcp_servers",
)
"""The parameters of a message that make its input: the API refuses others when it counts."""
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TIMEOUT = httpx.Timeout(60, connect=10)

# The API reads a whole body of up to 256 MB before it answers, and may take as long to gather 100,000 results.
LONG_TIMEOUT = httpx.Timeout(600, connect=10)

# httpx costs twice the CPU a request at 100 connections as at one.
LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=20)


def http_client(
    base_url: str | httpx.URL, *, timeout: httpx.Timeout = TIMEOUT, network: Network = DIRECT
) -> httpx.AsyncClient:
    """Return the connection pool that a worker shares; it follows no redirect, since a key must not travel."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=timeout,
        headers={"user-agent": f"message-batches/{__version__}", "accept-encoding": "identity"},
        follow_redirects=False,
        trust_env=False,
        transport=Transport(network, LIMITS),
    )


class HttpBatchApi:
    """The `BatchApi` port over one shared httpx client.

    Attributes:
        head_seconds: the time in which a download must begin, or its error be there.
        rate_seconds: the time in which a download, once begun, must bring `LEAST_BYTES`, again and again.
    """

    head_seconds: ClassVar[float] = 600
    rate_seconds: ClassVar[float] = 60

    def __init__(
        self, http: httpx.AsyncClient, keys: ApiKeys, network: Network = DIRECT, *, pace: CallPace | None = None
    ) -> None:
        self._http = http
        self._keys = keys
        self._network = network
        self._owners = KeyOwners()
        self._pace = pace or CallPace()

    @property
    def servers(self) -> Collection[str]:
        """The names of the servers of keys with a base URL of their own."""
        return self._keys.servers

    def check(self, profile: ApiProfile) -> None:
        """Raise `UnknownKey` unless the profile's key is held."""
        self._keys.secret(profile.api_key)

    def account(self, profile: ApiProfile) -> Account:
        """Return the account that the profile's batches are of."""
        return self._keys.account(profile.api_key, str(self._http.base_url).rstrip("/"))

    def server(self, profile: ApiProfile) -> str | None:
        """Return the name of the server of the profile's key; None for the one of all keys."""
        return self._keys.server(profile.api_key)

    def owner(self, profile: ApiProfile) -> KeyOwner | None:
        """Return the owner of the profile's key, as the answers so far name it; None before any answer."""
        return self._owners.get(profile.api_key, self.hidden(profile))

    async def create(self, profile: ApiProfile, body: AsyncIterable[bytes], length: int) -> MessageBatch:
        """POST a body of exactly `length` bytes, as it is produced.

        The call uses a new connection: one that was kept and has just been closed would look like a lost reply.
        """
        headers = {"content-type": "application/json", "content-length": str(length), **_betas(profile)}
        headers |= self._headers(profile)
        options: dict[str, Any] = {"headers": headers, "content": body, "timeout": LONG_TIMEOUT}
        url, hidden = self._url(profile, PATH), self.hidden(profile)
        with there():
            await self._pace.turn()
            reply = await _answer(self._http, "POST", url, hidden, sent=length, extensions={ALONE: True}, **options)
            self._owners.add(profile.api_key, hidden, reply)
            return await _batch_in(reply, hidden)

    async def poll_turn(self) -> None:
        """Wait until a poll may be made, behind other calls; `RateLimited` if its turn does not come soon."""
        await self._pace.turn(poll=True)

    async def retrieve(self, profile: ApiProfile, batch_id: str, *, in_turn: bool = False) -> MessageBatch:
        """GET a batch; `in_turn` if it is a poll whose turn has come."""
        reply = await self._call("GET", _path(batch_id), profile, in_turn=in_turn)
        return await _batch_in(reply, self.hidden(profile))

    async def list(
        self, profile: ApiProfile, *, limit: int, after_id: str | None = None, in_turn: bool = False
    ) -> BatchPage:
        """GET a page of batches, newest first, older than `after_id`; `in_turn` if it is a poll whose turn has come."""
        params = {"limit": str(limit)} | ({"after_id": after_id} if after_id else {})
        hidden = self.hidden(profile)
        with there():
            reply = await self._call("GET", PATH, profile, in_turn=in_turn, params=params, most=MAX_PAGE)
        page = await parsed(reply, BatchPage, hidden)
        batches = tuple(batch.with_status_read() for batch in page.data)
        told = {"date": date_of(reply.headers.get("date")), **owner_of(reply, hidden)._asdict()}
        return page.model_copy(update={"data": batches, **told})

    async def cancel(self, profile: ApiProfile, batch_id: str) -> MessageBatch:
        """POST to a batch's `/cancel`."""
        reply = await self._call("POST", f"{_path(batch_id)}/cancel", profile)
        return await _batch_in(reply, self.hidden(profile))

    async def delete(self, profile: ApiProfile, batch_id: str) -> None:
        """DELETE a batch that has ended, and its results."""
        reply = await self._call("DELETE", _path(batch_id), profile)
        await parsed(reply, DeletedBatch, self.hidden(profile))

    @asynccontextmanager
    async def results(self, profile: ApiProfile, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET the results as chunks of JSONL, unpacked from gzip; `ReplyLost` for a cut, or a download that crawls."""
        headers, hidden = self._headers(profile), self.hidden(profile)
        url = self._url(profile, f"{_path(batch_id)}/results")
        try:
            async with AsyncExitStack() as opened:
                await self._pace.turn()
                opened.enter_context(spans.call("GET", url))
                async with _answer_within(self.head_seconds):
                    call = self._http.stream("GET", url, headers=headers, timeout=LONG_TIMEOUT)
                    reply = await opened.enter_async_context(call)
                    if reply.status_code != httpx.codes.OK:
                        raise error_of(await _read(reply, MAX_OBJECT), hidden)
                log_request_id(request_id_of(reply, hidden))
                chunks = unpacked(reply, kept_up(received(reply), self.rate_seconds))
                yield await opened.enter_async_context(aclosing(chunks))
        except httpx.HTTPError as error:
            raise transport_error(error, hidden) from error

    async def model(self, profile: ApiProfile, name: str) -> ModelInfo | None:
        """GET a model; None if there is none of that name.

        Where a model is not found the list is asked for too: an address without models would know none.
        """
        if _MODEL_NAME.fullmatch(name):
            try:
                reply = await self._call("GET", f"{MODELS}/{name}", profile)
                return await parsed(reply, ModelInfo, self.hidden(profile))
            except BatchNotFound:
                pass
        with there("models"):
            await self._call("GET", MODELS, profile, params={"limit": "1"}, most=MAX_PAGE)
        return None

    async def count_tokens(self, profile: ApiProfile, params: Mapping[str, Any]) -> int:
        """POST the input of a message to have its tokens counted, which costs nothing."""
        given = {name: params[name] for name in COUNTED_PARAMS if name in params}
        with there("counting of tokens"):
            reply = await self._call("POST", COUNT_TOKENS, profile, json=given)
        return (await parsed(reply, TokenCount, self.hidden(profile))).input_tokens

    async def _call(
        self, method: str, path: str, profile: ApiProfile, *, in_turn: bool = False, **options: Any
    ) -> httpx.Response:
        if not in_turn:
            await self._pace.turn()
        url, hidden = self._url(profile, path), self.hidden(profile)
        # A batch is created with betas, and its requests are counted with them.
        headers = {**(_betas(profile) if "json" in options else {}), **self._headers(profile)}
        reply = await _answer(self._http, method, url, hidden, headers=headers, **options)
        self._owners.add(profile.api_key, hidden, reply)
        return reply

    def _url(self, profile: ApiProfile, path: str) -> str:
        """Return the path, or the whole URL where the key has a base URL of its own."""
        return f"{self._keys.base_urls.get(profile.api_key, '')}{path}"

    def _headers(self, profile: ApiProfile) -> dict[str, str]:
        return {**self._keys.headers_of(profile.api_key), "anthropic-version": profile.anthropic_version}

    def hidden(self, profile: ApiProfile) -> Sequence[str]:
        """Return the secrets that no answer to a call with the profile's key may repeat."""
        return (*self._keys.hidden(profile.api_key), *self._network.passwords)


def _betas(profile: ApiProfile) -> dict[str, str]:
    return {"anthropic-beta": ",".join(profile.anthropic_beta)} if profile.anthropic_beta else {}


async def _answer(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    hidden: Sequence[str],
    *,
    sent: int | None = None,
    most: int = MAX_OBJECT,
    **options: Any,
) -> httpx.Response:
    with spans.call(method, url):
        try:
            # Each byte of an answer resets the timeout. The time for an upload and its answer is the caller's to limit.
            limit = 2 * http.timeout.read if sent is None and http.timeout.read else None
            async with _answer_within(limit), http.stream(method, url, **options) as coming:
                reply = await _read(coming, most)
        except httpx.HTTPError as error:
            raise transport_error(error, hidden) from error
        if reply.status_code != httpx.codes.OK:
            raise error_of(reply, hidden, sent=sent)
        request_id = request_id_of(reply, hidden)
        if len(reply.content) > most:
            raise ReplyLost(
                f"The API answered 200 with more than {most:,} bytes, which is no answer to this call",
                status=200,
                request_id=request_id,
            )
        log_request_id(request_id)
        return reply


@asynccontextmanager
async def _answer_within(seconds: float | None) -> AsyncIterator[None]:
    """Raise `ReadTimeout` when an answer is not there in time, although each of its bytes was."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise httpx.ReadTimeout(f"no whole answer came within {seconds:g} s") from error


async def _read(coming: httpx.Response, most: int) -> httpx.Response:
    """Return a response with its body, unpacked, and of a longer one than `most` bytes the beginning."""
    content = await read_bounded(coming, most)
    headers = [(name, value) for name, value in coming.headers.raw if name.lower() != b"content-encoding"]
    between = {PROXY: coming.extensions[PROXY]} if PROXY in coming.extensions else None
    return httpx.Response(coming.status_code, headers=headers, content=content, extensions=between)


async def _batch_in(reply: httpx.Response, hidden: Sequence[str]) -> MessageBatch:
    return (await parsed(reply, MessageBatch, hidden)).with_status_read()


def _path(batch_id: str) -> str:
    if not re.fullmatch(BATCH_ID_PATTERN, batch_id):
        raise RequestRefused(
            f"{batch_id[:100]!r} is not a batch id: it would change the path of the call. Nothing was sent"
        )
    return f"{PATH}/{batch_id}"
