"""A result line in words: the text of the reply, its tool calls, or the error."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic_core import from_json

from message_batches.jsonl import LONG_LINE
from message_batches.results.parser import decode_leniently, read_result

_ESCAPED = 6
"""Most bytes of a character in JSON, such as `\\u0000`."""


@dataclass(frozen=True)
class ReplyCell:
    """A result in words.

    Attributes:
        outcome: `succeeded`, `errored`, `canceled` or `expired`.
        text: the text of the reply; for a tool call its name and input, for an error its type and message.
        whole: whether that is all of the text.
    """

    custom_id: str
    outcome: str
    text: str
    whole: bool = True


def read_reply(line: bytes, most: int | None = None) -> ReplyCell:
    """Read a result line; `ValueError` if it is not one.

    Args:
        line: without its line feed.
        most: the characters of the text that are needed; a line over 1 MiB is then built only so far.
    """
    result = read_result(line, landed=True)
    if result.error:
        kind, message = result.error
        return _cell(result.custom_id, result.type, f"{kind}: {message}", most)
    if most is not None and len(line) > LONG_LINE:
        return ReplyCell(result.custom_id, result.type, _plain(_beginning(line, most))[:most], whole=False)
    decoded = decode_leniently(line)["result"]
    text = "\n".join(_texts(decoded.get("message"))) if isinstance(decoded, dict) else ""
    return _cell(result.custom_id, result.type, text, most)


def text_of(message: Any) -> str:
    """Return the text of a message, its tool calls in words; empty for anything that is no message."""
    return _plain("\n".join(_texts(message)))


def _cell(custom_id: str, outcome: str, text: str, most: int | None) -> ReplyCell:
    return ReplyCell(custom_id, outcome, _plain(text[:most]), whole=most is None or len(text) <= most)


def _plain(text: str) -> str:
    """Return the text with a question mark for a lone surrogate, which models do write."""
    return text.encode("utf-8", "replace").decode()


def _texts(message: Any) -> list[str]:
    """Return the texts and tool calls of a message, a list item for each line of its own."""
    content = message.get("content") if isinstance(message, dict) else None
    texts: list[str] = []
    after_text = False
    for block in content if isinstance(content, list) else []:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text" and after_text:
            # One text in several blocks: a sentence with citations is one, and so may be a JSON document.
            texts[-1] += str(block.get("text", ""))
        elif kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "tool_use":
            texts.append(f"{block.get('name')}({json.dumps(block.get('input'), ensure_ascii=False)})")
        after_text = kind == "text"
    return texts


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()


class _Outcome(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)


class _Line(msgspec.Struct):
    result: _Outcome


_decode = msgspec.json.Decoder(_Line).decode


def _beginning(line: bytes, most: int) -> str:
    """Return the text at the beginning of a long line's content; as it is written, where that cannot be parsed."""
    try:
        content = bytes(memoryview(_decode(line).result.message.content)[: most * _ESCAPED])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    written = content.decode("utf-8", "ignore")
    try:
        # It ends without an error at half a surrogate pair.
        return "\n".join(_texts({"content": from_json(written, allow_partial="trailing-strings")})) or written
    except ValueError:
        return written
