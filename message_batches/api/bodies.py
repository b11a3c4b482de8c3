"""The body of a response: at most one gzip, unpacked in steps, bounded in size, pace and pieces, and decoded by type.

What is not read of an object is skipped, so that an answer costs no more than its bytes.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

import httpx
import msgspec

from message_batches.api.models import MAX_BATCHES, ApiModel
from message_batches.api.redaction import MAX_TEXT, MIN_KEY_LENGTH, redact
from message_batches.jsonl import without_bom

MAX_OBJECT = 64 * 1024
"""Most bytes of a batch, a model or an error: the API's take less than 2 KB."""

MAX_PAGE = 2 * 1024 * 1024
"""Most bytes of a page of the list: 1,000 batches take less than 1 MB."""

LEAST_BYTES = 64 * 1024
"""Fewest bytes that a download must bring in a period."""

_STEP = 256 * 1024
"""Most bytes that are unpacked at a time: a thousandth of that is enough to unpack to them."""

_FEW_PIECES, _PIECE = 1000, 16
"""Pieces of a body that may be of any size, and the bytes of the others on average: a short one costs as a long one."""

_ModelT = TypeVar("_ModelT", bound=ApiModel)
_SCALAR = str | int | float | bool | None


async def read_bounded(reply: httpx.Response, most: int) -> bytes:
    """Return a body, unpacked; of a longer one `most` bytes and one more."""
    content = bytearray()
    async for piece in unpacked(reply, received(reply)):
        content += piece[: most + 1 - len(content)]
        if len(content) > most:
            break
    return bytes(content)


async def received(reply: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the chunks of a body as they come; `DecodingError` for one that comes in too many, each of a few bytes."""
    pieces = size = 0
    async for chunk in reply.aiter_raw():
        pieces, size = pieces + 1, size + len(chunk)
        if pieces > _FEW_PIECES + size // _PIECE:
            raise httpx.DecodingError(f"its {size:,} bytes came in {pieces:,} pieces")
        if pieces % _FEW_PIECES == 0:
            # Between the pieces that one read has brought nothing waits.
            await asyncio.sleep(0)
        yield chunk


async def unpacked(reply: httpx.Response, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the chunks of a body, unpacked from gzip; `DecodingError` for anything but one whole gzip, or none."""
    named = reply.headers.get("content-encoding", "")
    encodings = [each for each in (part.strip().lower() for part in named.split(",")) if each not in ("", "identity")]
    if encodings and encodings not in (["gzip"], ["x-gzip"]):
        raise httpx.DecodingError(f"its Content-Encoding is {named[:MAX_TEXT]}, and only identity was asked for")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encodings else None
    begun = False
    async for chunk in chunks:
        begun = begun or bool(chunk)
        for piece in _gunzip(gzip, chunk) if gzip else (chunk,):
            yield piece
    if gzip and begun and not gzip.eof:
        raise httpx.DecodingError("its gzip is cut off")


def _gunzip(gzip: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    try:
        while True:
            if piece := gzip.decompress(chunk, _STEP):
                yield piece
            if gzip.unused_data:
                raise httpx.DecodingError("more follows its gzip")
            chunk = gzip.unconsumed_tail
            # A step that is full may have left some of its output behind.
            if not chunk and len(piece) < _STEP:
                return
    except zlib.error as error:
        raise httpx.DecodingError(f"its gzip is damaged: {error}") from error


async def kept_up(chunks: AsyncIterator[bytes], period: float) -> AsyncIterator[bytes]:
    """Yield the chunks of a download, joined; `ReadTimeout` when a period of waiting for them has brought too little.

    The wait for the first one is not limited here: the API may take long to gather the results.
    """
    size = LEAST_BYTES
    chunk = await anext(chunks, b"")
    while size >= LEAST_BYTES:
        held, size = [chunk], len(chunk)
        failure: httpx.HTTPError | None = None
        try:
            # One timeout for many chunks: it costs half as much as a chunk.
            async with asyncio.timeout(period):
                while size < LEAST_BYTES and (chunk := await anext(chunks, b"")):
                    held.append(chunk)
                    size += len(chunk)
        except TimeoutError:
            failure = httpx.ReadTimeout(f"{size:,} bytes came in {period:g} s, fewer than {LEAST_BYTES:,}")
        except httpx.HTTPError as error:
            failure = error
        if size:
            yield b"".join(held)
        if failure:
            raise failure
        chunk = b""


def text_of(content: bytes) -> str:
    """Return a body as text; `ValueError` unless it is UTF-8, as JSON is: a guess of the encoding hides a key."""
    return bytes(without_bom(content)).decode()


def parse(model: type[_ModelT], content: bytes, secrets: Sequence[str]) -> _ModelT:
    """Return the object in a body, without secrets.

    Raises `ValueError` or `RecursionError` for a body that is not JSON, `msgspec.ValidationError` or
    `pydantic.ValidationError` for one of another form.
    """
    found = msgspec.json.decode(text_of(content), type=_struct(model))
    return model.model_validate(_clean(msgspec.to_builtins(found), secrets))


def _clean(value: Any, secrets: Sequence[str]) -> Any:
    """Return what was decoded, without secrets in its texts; one too long for any field is left to its check."""
    match value:
        case str() if MIN_KEY_LENGTH <= len(value) <= MAX_TEXT:
            return redact(value, secrets)
        case dict():
            return {name: _clean(each, secrets) for name, each in value.items()}
        case list():
            return [_clean(each, secrets) for each in value]
        case _:
            return value


@cache
def _struct(model: type[ApiModel], *, listed: bool = False) -> Any:
    """Return the type of a model's fields, whose values the model checks: other fields are skipped unread.

    Of a list it is strict about fields that are absent: the model would describe each of a million empty objects.
    """
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        absent = () if listed and field.is_required() else (msgspec.UNSET,)
        fields.append((name, _type_of(field.annotation), *absent))
    return msgspec.defstruct(model.__name__, fields, gc=False, kw_only=True)


def _type_of(annotation: Any) -> Any:
    parts = (annotation, *get_args(annotation))
    model = next((part for part in parts if isinstance(part, type) and issubclass(part, ApiModel)), None)
    if get_origin(annotation) is tuple and model:
        items: Any = _struct(model, listed=True)
        return Annotated[list[items], msgspec.Meta(max_length=MAX_BATCHES)]
    return _struct(model) | _SCALAR if model else _SCALAR
