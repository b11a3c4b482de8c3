"""What a hostile server or file holds: generated, each cheap to make, and dear to a careless reader."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import repeat

MB = 1024 * 1024
LONGEST = 60 * MB
"""A line that is just read: one of more than 64,000,000 bytes is not even looked at."""

Pieces = Iterator[bytes]


class Call(StrEnum):
    """The call that is answered."""

    RETRIEVE = "retrieve"
    RESULTS = "results"
    CREATE = "create"
    LIST = "list"


@dataclass(frozen=True)
class HostileAnswer:
    """An answer: its head, without the empty line, and the pieces of its body; the connection is closed after it."""

    name: str
    head: bytes
    body: Callable[[], Pieces]


@dataclass(frozen=True)
class HostileFile:
    """A file of requests, by the pieces that it is made of."""

    name: str
    content: Callable[[], Pieces]


def batch(batch_id: str, *, ended: bool = True, count: int = 2) -> dict[str, object]:
    """Return a batch as the API describes it."""
    now = datetime.now(UTC)
    counts = {"processing": 0 if ended else count, "succeeded": count if ended else 0}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": {**counts, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": now.isoformat(),
        "expires_at": (now + timedelta(days=1)).isoformat(),
        "results_url": None,
    }


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json"


def _plain(text: bytes) -> Callable[[], Pieces]:
    return lambda: iter([text])


def _many(piece: bytes, size: int, before: bytes = b"", after: bytes = b"") -> Callable[[], Pieces]:
    """Return a body of so many bytes of a piece, sent 64 KiB at a time."""
    block = piece * max(1, 65536 // len(piece))

    def pieces() -> Pieces:
        yield before
        yield from repeat(block, max(1, size // len(block)))
        yield after

    return pieces


def _gzipped(times: int, size: int) -> bytes:
    """Return so many bytes of zeros, compressed so many times over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(packer.compress(bytes(MB)) for _ in range(size // MB)) + packer.flush()
    for _ in range(times - 1):
        data = gzip.compress(data)
    return data


def _encoded(coding: str, data: Callable[[], bytes], name: str) -> HostileAnswer:
    return HostileAnswer(name, OK + f"\r\ncontent-encoding: {coding}".encode(), lambda: iter([data()]))


def _json(name: str, body: Callable[[], Pieces], head: bytes = OK) -> HostileAnswer:
    return HostileAnswer(name, head, body)


_UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json"
_MESSAGE = '{"type":"error","error":{"type":"authentication_error","message":"%s"}}'

ANSWERS = (
    _encoded("gzip, gzip, gzip", lambda: _gzipped(3, 512 * MB), "gzip three times over"),
    _encoded("gzip", lambda: _gzipped(1, 1024 * MB), "a gigabyte of zeros in a megabyte of gzip"),
    _encoded("gzip", lambda: _gzipped(1, 64 * MB)[:-40], "gzip that is cut off"),
    _encoded("gzip", lambda: gzip.compress(b"{}") + bytes(MB), "bytes after the end of gzip"),
    _encoded("gzip", lambda: b"".join(gzip.compress(b" ") for _ in range(50_000)), "fifty thousand parts of gzip"),
    _encoded("deflate", lambda: zlib.compress(bytes(256 * MB)), "deflate"),
    _encoded("br", lambda: b"\x8b\x02\x80" + bytes(1000), "brotli"),
    _encoded("zstd", lambda: bytes(1000), "zstandard"),
    _encoded(", ".join(["identity"] * 2000), lambda: b"{}", "two thousand encodings"),
    _json("eight megabytes of empty objects", _many(b"{},", 8 * MB, b'{"x":[', b"{}]}")),
    _json("two hundred megabytes of empty objects", _many(b"{},", 200 * MB, b'{"x":[', b"{}]}")),
    _json("a quarter of a million open brackets", _plain(b"[" * 250_000)),
    _json("a quarter of a million nested objects", _plain(b'{"a":' * 250_000)),
    _json("a number of eight million digits", _many(b"9", 8 * MB, b'{"request_counts":{"processing":', b"}}")),
    _json("a string of eight megabytes", _many(b"a", 8 * MB, b'{"id":"', b'"}')),
    _json("escapes without end", _many(b"\\u0041", 8 * MB, b'{"id":"', b'"}')),
    _json("one field a million times", _many(b'"id":"msgbatch_1",', 16 * MB, b"{", b'"id":"x"}')),
    _json("UTF-16", _plain(json.dumps(batch("msgbatch_1")).encode("utf-16"))),
    _json("UTF-32", _plain(json.dumps(batch("msgbatch_1")).encode("utf-32"))),
    _json("a refusal in UTF-16", _plain((_MESSAGE % "no").encode("utf-16")), _UNAUTHORIZED),
    _json("a refusal of eight megabytes", _many(b"sk-ant-", 8 * MB, *(_MESSAGE.encode().split(b"%s"))), _UNAUTHORIZED),
    _json("a refusal of backslashes", _many(b"\\\\", 8 * MB, *(_MESSAGE.encode().split(b"%s"))), _UNAUTHORIZED),
    _json("bytes that are no text", _many(b"\xff\xfe\x00", 4 * MB)),
    _json("three hundred megabytes of blanks", _many(b" ", 300 * MB)),
    HostileAnswer("a megabyte of headers", OK + b"".join(b"\r\nx-%d: y" % n for n in range(80_000)), _plain(b"{}")),
    HostileAnswer("a header of four megabytes", OK + b"\r\nx: " + b"a" * 4 * MB, _plain(b"{}")),
    HostileAnswer("a thousand interim answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + OK, _plain(b"{}")),
    HostileAnswer("a redirect to itself", b"HTTP/1.1 307 Moved\r\nlocation: /v1/messages/batches", _plain(b"")),
    HostileAnswer("a length that is none", OK + b"\r\ncontent-length: -1", _plain(b"{}")),
    HostileAnswer("a length beyond all bounds", OK + b"\r\ncontent-length: 99999999999999999999", _plain(b"{}")),
    HostileAnswer("chunks of one byte", OK + b"\r\ntransfer-encoding: chunked", _many(b"1\r\n{\r\n", MB)),
    HostileAnswer(
        "an endless extension of a chunk", OK + b"\r\ntransfer-encoding: chunked", _many(b"x", 8 * MB, b"1;")
    ),
    HostileAnswer("no HTTP", b"SSH-2.0-OpenSSH_9.6" + b"x" * 100_000, _plain(b"")),
    HostileAnswer("a status of its own", b"HTTP/1.1 999 " + b"z" * 60_000, _plain(b"{}")),
)
"""Answers that may come to any call."""


_UNCLOSED = b'{"custom_id":"a","result":' + b"[" * 200_000 + b'"'
_RESULT = b'{"type":"succeeded","message":{"content":[{"type":"text","text":"'

RESULTS = (
    _json("brackets and thirty thousand escaped quotes", _plain(_UNCLOSED + b'\\"' * 32_000)),
    _json("brackets and half a million escaped quotes", _plain(_UNCLOSED + b'\\"' * 500_000)),
    _json("brackets and eight million backslashes", _many(b"\\", 8 * MB, _UNCLOSED)),
    _json("ninety ids of twenty megabytes", _many(b'{"custom_id":"' + b"i" * 20 * MB + b'"}\n', 90 * 20 * MB)),
    _json("a line without an end", _many(b"a", 300 * MB, b'{"custom_id":"a","result":"')),
    _json("a text as long as a batch", _many(b"a", 240 * MB, b'{"custom_id":"request-0000","result":"', b'"}\n')),
    _json("blanks as long as a batch", _many(b" ", 240 * MB, b"", b"\n")),
    _json("a line of nested brackets", _many(b"[", 240 * MB, b'{"custom_id":"a","result":')),
    _json("a line of numbers", _many(b"1,", 240 * MB, b'{"custom_id":"request-0000","result":[', b"1]}\n")),
    _json("a line of empty objects", _many(b"{},", 240 * MB, b'{"custom_id":"request-0000","result":[', b"{}]}\n")),
    _json(
        "a field with an escaped name, and empty objects",
        _many(b"{},", LONGEST, b'{"\\u0063ustom_id":"request-0000","result":[', b"{}]}\n"),
    ),
    _json("a million empty lines", _many(b"\n", 64 * MB)),
    _json("ten million blank lines", _many(b" \r\n", 64 * MB)),
    _json("a million objects that are no results", _many(b"{}\n", 64 * MB)),
    _json("a million lines that are no JSON", _many(b"no\n", 64 * MB)),
    _json(
        "a hundred thousand foreign ids", lambda: (b'{"custom_id":"x-%d","result":{}}\n' % n for n in range(100_000))
    ),
    _json("one id half a million times", _many(b'{"custom_id":"request-0000","result":{"type":"expired"}}\n', 32 * MB)),
    _json("an id of escapes", _many(b"\\u0041", 32 * MB, b'{"custom_id":"', b'","result":{}}\n')),
    _json("carriage returns alone", _many(b'{"custom_id":"request-0000"}\r', 64 * MB)),
    _json("line separators of other alphabets", _many("\u2028\u0085".encode(), LONGEST)),
    _json("zeros", _many(b"\x00", LONGEST)),
    _json("halves of characters", _many(b"\xf0\x9f", LONGEST, b'{"custom_id":"request-0000","result":"')),
    _json("a number of 240 million digits", _many(b"9", 240 * MB, b'{"custom_id":"request-0000","result":', b"}\n")),
    _json(
        "an answer of sixty megabytes",
        _many(b"ha", LONGEST, b'{"custom_id":"request-0000","result":' + _RESULT, b'"}]}}}\n'),
    ),
    _json(
        "a million blocks in an answer",
        _many(
            b'{"type":"text","text":"a"},',
            LONGEST,
            b'{"custom_id":"request-0000","result":{"message":{"content":[',
            b"{}]}}}\n",
        ),
    ),
    _encoded("gzip", lambda: _gzipped(1, 1024 * MB), "a gigabyte of zeros as results"),
    _encoded("gzip, gzip", lambda: _gzipped(2, 1024 * MB), "results compressed twice"),
)
"""Answers to the call for results, of a batch of two requests."""

_PARAMS = b'{"custom_id":"a","params":{"model":"claude-sonnet-5","max_tokens":1,"messages":'

FILES = (
    HostileFile("one request of empty objects", _many(b"{},", 60 * MB, _PARAMS + b"[", b"{}]}}\n")),
    HostileFile(
        "an escaped name, and a quarter of a gigabyte of empty objects",
        _many(b"{},", 240 * MB, b'{"\\u0063ustom_id":"a","params":{"x":[', b"{}]}}\n"),
    ),
    HostileFile("one request of brackets", _many(b"[", 60 * MB, _PARAMS)),
    HostileFile("one request of numbers", _many(b"1,", 60 * MB, _PARAMS + b"[", b"1]}}\n")),
    HostileFile("an id of a hundred megabytes", _many(b"a", 100 * MB, b'{"custom_id":"', b'","params":{}}\n')),
    HostileFile("a line without an end", _many(b"a", 240 * MB)),
    HostileFile("a million empty requests", _many(b"{}\n", 60 * MB)),
    HostileFile("a quarter of a gigabyte of zeros", _many(b"\x00", 240 * MB)),
    HostileFile("fields by the million", _many(b'"a":1,', 60 * MB, b'{"custom_id":"a","params":{', b'"b":2}}\n')),
    HostileFile("one name by the million", _many(b'"custom_id":"a",', 60 * MB, b"{", b'"params":{}}\n')),
    HostileFile("a number of sixty million digits", _many(b"9", 60 * MB, _PARAMS, b"}}\n")),
    HostileFile("escapes", _many(b"\\ud83d\\ude00", 60 * MB, _PARAMS + b'"', b'"}}\n')),
)
"""Files of requests that a caller names."""
