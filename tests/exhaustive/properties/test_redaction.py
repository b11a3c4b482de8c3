"""Any answer that repeats the key: whatever its encoding and its escapes, the key is in no text that is shown of it."""

import html
import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_batches.api.bodies import parse
from message_batches.api.models import BatchPage, MessageBatch
from message_batches.api.responses import error_of, owner_of, request_id_of

KEYS = st.from_regex(r"sk-ant-[A-Za-z0-9_-]{20,60}", fullmatch=True).filter(lambda key: len(letters(key)) >= 16)
BODIES = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
    "latin-1",
    "utf-7",
)
SPLITS = ("", " ", "\u200b", "\x00", "\x1b", "\u202e", "\u0301", "\ufeff", "-", '", "', "\n", "\u2028")


def letters(text: str) -> str:
    return "".join(each for each in text if each.isascii() and each.isalnum()).lower()


def escape_some(form: Callable[[str], str]) -> Callable[[str, list[bool]], str]:
    return lambda text, which: "".join(form(each) if now else each for each, now in zip(text, which, strict=True))


ESCAPES: tuple[Callable[[str, list[bool]], str], ...] = (
    escape_some(lambda each: f"%{ord(each):02x}"),
    escape_some(lambda each: f"%{ord(each):02X}"),
    escape_some(lambda each: f"\\u{ord(each):04x}"),
    escape_some(lambda each: f"\\x{ord(each):02X}"),
    escape_some(lambda each: f"&#{ord(each)};"),
    escape_some(lambda each: f"&#x{ord(each):x};"),
    escape_some(str.swapcase),
    lambda text, _: html.escape(text),
    lambda text, _: quote(text, safe=""),
)


@st.composite
def spelled(draw: st.DrawFn, key: str) -> str:
    """Return a key in a spelling: encoded or split, and escaped up to three times."""
    split = draw(st.sampled_from(SPLITS))
    every = draw(st.integers(1, 9))
    text = draw(
        st.sampled_from(
            (
                key,
                split.join(key[at : at + every] for at in range(0, len(key), every)),
                key.encode().hex(),
                b64encode(draw(st.binary(max_size=4)) + key.encode()).decode(),
                "".join(chr(ord(each) + 0xFEE0) for each in key),
            )
        )
    )
    for escape in draw(st.lists(st.sampled_from(ESCAPES), max_size=2)):
        if len(text) < 1000:
            text = escape(text, draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text))))
    return text


def readings(text: str) -> set[str]:
    """Return the letters of a text, and of what its escapes stand for."""
    found = {letters(text)}
    for _ in range(3):
        text = html.unescape(httpx.QueryParams(f"a={text.replace('&', '%26').replace('+', '%2B')}").get("a", text))
        found.add(letters(text))
    return found


@given(data=st.data(), key=KEYS, encoding=st.sampled_from(BODIES), field=st.sampled_from(("type", "message", "both")))
def test_no_error_repeats_the_key(data: st.DataObject, key: str, encoding: str, field: str) -> None:
    text = data.draw(st.sampled_from(("", "key: ", "x" * 495))) + data.draw(spelled(key))
    half = data.draw(st.integers(0, len(key)))
    error = (
        {"type": key[:half], "message": key[half:]} if field == "both" else {"type": "x", "message": "y", field: text}
    )
    content = json.dumps({"type": "error", "error": error}, ensure_ascii=data.draw(st.booleans()))
    header = text.encode("utf-8")[:2000]
    reply = httpx.Response(
        data.draw(st.sampled_from((400, 401, 403, 404, 413, 429, 500))),
        content=content.encode(encoding, "replace"),
        headers=[(name, header) for name in (b"request-id", b"server", b"content-type", b"anthropic-workspace-id")],
    )

    failure = error_of(reply, (key,))

    for said in (str(failure), request_id_of(reply, (key,)), owner_of(reply, (key,)).workspace_id):
        assert not [reading for reading in readings(said or "") if letters(key) in reading]
    assert str(failure).isprintable()


@given(data=st.data(), key=KEYS)
def test_no_batch_holds_the_key(data: st.DataObject, key: str) -> None:
    said = {
        "id": data.draw(st.sampled_from(("msgbatch_1", key))),
        "processing_status": data.draw(spelled(key))[:100],
        "request_counts": {},
        "created_at": "2026-11-22T12:00:00Z",
        "expires_at": "2026-11-23T12:00:00Z",
        "results_url": f"https://gateway/{data.draw(spelled(key))}"[:2000],
    }
    page = {"data": [said], "has_more": True, "last_id": data.draw(st.sampled_from((None, "msgbatch_1", key)))}
    for model, value in ((MessageBatch, said), (BatchPage, page)):
        with suppress(ValueError):
            parsed = parse(model, json.dumps(value).encode(), (key,))
            assert not [reading for reading in readings(parsed.model_dump_json()) if letters(key) in reading]


@pytest.mark.parametrize("encoding", BODIES[2:8])
def test_a_body_in_another_encoding_is_not_of_the_api(encoding: str) -> None:
    content = json.dumps({"type": "error", "error": {"type": "authentication_error", "message": "the key sk-ant-x"}})

    failure = error_of(httpx.Response(401, content=content.encode(encoding)), ())

    assert not failure.by_api
    assert "sk-ant" not in str(failure)
    assert "\0" not in str(failure)
