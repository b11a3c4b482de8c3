"""What the answers to requests may have, read from a manifest: small and bounded, however many and large they are."""

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from message_batches.concurrency import process_in_thread
from message_batches.errors import RequestsNotFound
from message_batches.jsonl import LONG_LINE, Splitter
from message_batches.models import Manifest
from message_batches.results.contradictions import ANY, Expected
from message_batches.storage.interface import Store

MAX_SHAPES = 10_000
MAX_SHAPES_BYTES = 20_000_000
"""Different requests, by what is compared, that are kept apart, and what they take in memory; of further ones only the
custom_id is compared."""


async def read_expected(store: Store, manifest: Manifest) -> dict[str, Expected]:
    """Read what the answers to a manifest's requests may have, by custom_id, in its order.

    `RequestsNotFound` if the requests are gone or changed.
    """
    read = _Requests()
    await process_in_thread(_stream(store, manifest), read.feed)
    return read.finish(manifest)


async def _stream(store: Store, manifest: Manifest) -> AsyncIterator[bytes]:
    try:
        async for chunk in store.stream(store.name(manifest.uri)):
            yield chunk
    except FileNotFoundError as error:
        raise RequestsNotFound(f"{manifest.uri} is no longer in the store: start a new run") from error


class _Requests:
    """Reads a manifest in pieces; equal shapes are one object, so that 100,000 requests need little memory."""

    def __init__(self) -> None:
        self._expected: dict[str, Expected] = {}
        self._shapes: dict[Expected, Expected] = {}
        self._shapes_bytes = 0
        self._splitter = Splitter()
        self._digest = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        self._digest.update(data)
        self._add(self._splitter.feed(data))

    def finish(self, manifest: Manifest) -> dict[str, Expected]:
        self._add(self._splitter.end())
        if self._digest.hexdigest() != manifest.sha256:
            raise RequestsNotFound(f"{manifest.uri} has changed since it was checked: start a new run")
        return self._expected

    def _add(self, lines: list[bytes]) -> None:
        for line in lines:
            custom_id, shape = _read_request(line)
            if shape not in self._shapes:
                self._shapes_bytes += shape.bytes
                if len(self._shapes) >= MAX_SHAPES or self._shapes_bytes > MAX_SHAPES_BYTES:
                    shape = ANY
            self._expected[custom_id] = self._shapes.setdefault(shape, shape)


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None


class _Kind(msgspec.Struct):
    type: str | None = None


class _Choice(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _OutputConfig(msgspec.Struct):
    format: _Kind | None = None


class _Params(msgspec.Struct):
    model: str
    max_tokens: int
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    stop_sequences: list[str] | None = None
    thinking: _Kind | None = None
    output_config: _OutputConfig | None = None
    output_format: _Kind | None = None
    mcp_servers: Any = None
    container: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None

    @property
    def expected(self) -> Expected:
        others = any(tool.type not in (None, "custom") for tool in self.tools or ())
        provided = bool(others or self.mcp_servers or self.container)
        choice = self.tool_choice or _Choice()
        names = {"none": [], "tool": [choice.name or ""]}.get(
            choice.type or "", [tool.name for tool in self.tools or ()]
        )
        thinking = self.thinking.type if self.thinking else None
        form = (self.output_config and self.output_config.format) or self.output_format
        return Expected(
            model="" if self.fallbacks or self.fallback_credit_token else self.model,
            # The provider's tools have the model sample several times, each time up to the limit.
            max_tokens=None if provided else self.max_tokens,
            tools=None if provided else frozenset(names),
            forced=choice.type in ("any", "tool"),
            single_call=bool(choice.disable_parallel_tool_use),
            formatted=form is not None and form.type == "json_schema",
            stop_sequences=frozenset(self.stop_sequences or ()),
            may_think=thinking != "disabled" and bool(thinking or not _THINKS_ON_REQUEST.match(self.model)),
        )


class _Written(msgspec.Struct):
    """The parameters that are compared, as they are written: one of them may be of more values than memory holds."""

    model: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()
    stop_sequences: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()
    output_format: msgspec.Raw = msgspec.Raw()
    mcp_servers: msgspec.Raw = msgspec.Raw()
    container: msgspec.Raw = msgspec.Raw()
    fallbacks: msgspec.Raw = msgspec.Raw()
    fallback_credit_token: msgspec.Raw = msgspec.Raw()


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_written = msgspec.json.Decoder(_Written).decode
_decode_params = msgspec.json.Decoder(_Params).decode

_THINKS_ON_REQUEST = re.compile(r"claude-(?:3|(?:haiku|sonnet|opus)-4(?:-|$))")
"""Models of these generations think only where the request says so; later ones may do so by default."""


def _read_request(line: bytes) -> tuple[str, Expected]:
    request = _decode_request(line)
    try:
        if len(line) > LONG_LINE:
            written = msgspec.structs.astuple(_decode_written(request.params))
            if sum(map(len, written)) > LONG_LINE:
                return request.custom_id, ANY
        return request.custom_id, _decode_params(request.params).expected
    except (msgspec.DecodeError, ValueError, RecursionError):
        # The API refuses it, or knows more than this version: any answer may be its own.
        return request.custom_id, ANY
