"""The size of a request's input in tokens, by the kind of its contents; docs/cost.md has the sources of the figures."""

import base64
import binascii
import json
from typing import Any, Literal

import msgspec

from message_batches.jsonl import Line

ENGLISH = 3.3
"""Characters of a token, in text such as English."""
CODE = 2.7
"""Characters of a token, in code, JSON, markup and numbers."""
OTHER = 2.0
"""UTF-8 bytes of a token, in letters beyond ASCII."""
PDF = 4
"""Bytes of a token, in a PDF."""
PIXELS = 750
"""Pixels of a token, in an image."""
IMAGE_AT_MOST = 4784
"""Tokens of the largest image: a larger one is scaled down."""
PER_MESSAGE = 7
PER_TOOLS = 530
"""Tokens of what the API itself says to a model that has tools."""

_SAMPLE = 256
"""Bytes in the middle of a request that show whether it is code."""
_FRAME = 60
"""Such signs around the text of a short request."""
_WORDS = 0.93
"""The part of a text that is no sign of code, from which on it is words: prose has 96 to 99 % of it, code and JSON 90
or less."""
_CODE_SIGNS = b'{}[]()<>=;:"/_0123456789`|*#$@&+~^'
"""Without the backslash: a line has it for each line break of a text."""
_ASCII = bytes(range(128))
_MORE = frozenset(("tools", "mcp_servers", "output_config", "output_format", "cache_control"))
_OWN_TOOLS = ("custom", "bash_2", "text_editor_2", "memory_2", "computer_", "browser_toolset")
"""How the types of tools begin that the caller runs, whose results come in further requests. The provider may run any
other one, with tokens that the request does not show."""
_HEAD = 65_536
"""Characters of an image that are decoded: in a JPEG its size comes after a preview and other data."""


class InputSize:
    """The size of a request's input, in the order in which a cache takes its parts.

    Attributes:
        tokens: of the whole input.
        written: of these, the tokens up to the last point of a cache.
        for_an_hour: whether any of them are cached for an hour.
        unseen: whether there are contents, or tools, whose tokens the request does not show.
    """

    # Of the class until they are another: most requests set one of them, and there are 100,000.
    tokens = 0.0
    written = 0.0
    for_an_hour = False
    unseen = False

    def __init__(self, characters: float) -> None:
        self._characters = characters

    def add(self, params: dict[str, Any]) -> None:
        """Add the parameters of a request."""
        more = not _MORE.isdisjoint(params)
        if more:
            self._add_tools(params)
        system = params.get("system")
        if system is not None:
            self._add_content(system)
        messages = params.get("messages")
        for message in messages if type(messages) is list else ():
            if type(message) is dict:
                content = message.get("content")
                if type(content) is str and content.isascii():
                    self.tokens += PER_MESSAGE + len(content) / self._characters
                else:
                    self.tokens += PER_MESSAGE
                    self._add_content(content)
        if more:
            if form := params.get("output_config") or params.get("output_format"):
                self.tokens += _structure(form)
            self._cache(params.get("cache_control"))

    def _cache(self, control: Any) -> None:
        """Count all so far as written to a cache."""
        if type(control) is dict:
            self.written = self.tokens
            self.for_an_hour = self.for_an_hour or control.get("ttl") == "1h"

    def _add_tools(self, params: dict[str, Any]) -> None:
        tools = params.get("tools")
        if tools and type(tools) is list:
            self.tokens += PER_TOOLS
            for tool in tools:
                self.tokens += _structure(tool)
                if type(tool) is dict:
                    self.unseen = self.unseen or not str(tool.get("type") or "custom").startswith(_OWN_TOOLS)
                    self._cache(tool.get("cache_control"))
        self.unseen = self.unseen or bool(params.get("mcp_servers"))

    def _add_text(self, text: Any) -> None:
        if type(text) is not str:
            return
        if text.isascii():
            self.tokens += len(text) / self._characters
            return
        data = text.encode("utf-8", "replace")
        beyond = len(data.translate(None, _ASCII))
        self.tokens += (len(data) - beyond) / self._characters + beyond / OTHER

    def _add_content(self, content: Any) -> None:
        if type(content) is str:
            self._add_text(content)
            return
        for block in content if type(content) is list else ():
            if type(block) is dict:
                self._add_block(block)
                self._cache(block.get("cache_control"))

    def _add_block(self, block: dict[str, Any]) -> None:
        match block.get("type"):
            case "text":
                self._add_text(block.get("text"))
            case "thinking":
                self._add_text(block.get("thinking"))
            case "image":
                self.tokens += _image(block.get("source"))
            case "document":
                self._add_document(block)
            case "tool_result" | "search_result":
                self._add_content(block.get("content"))
            case "container_upload":
                self.unseen = True
            case _:
                self.tokens += _structure(block)

    def _add_document(self, block: dict[str, Any]) -> None:
        self._add_text(block.get("title"))
        self._add_text(block.get("context"))
        source = block.get("source")
        if type(source) is not dict:
            source = {}
        match source.get("type"), source.get("data"):
            case "base64", str(data):
                self.tokens += len(data) * 3 / 4 / PDF
            case "text", data:
                self._add_text(data)
            case "content", _:
                self._add_content(source.get("content"))
            case _:
                self.unseen = True


def characters_of(line: Line) -> float:
    """Return the characters of a token in the texts of a request: the middle of its line shows whether it is code."""
    size, frame = len(line), 0
    if size > 2 * _SAMPLE:
        line, size = line[size // 2 : size // 2 + _SAMPLE], _SAMPLE
    else:
        frame = _FRAME
    return ENGLISH if len(bytes(line).translate(None, _CODE_SIGNS)) + frame >= _WORDS * size else CODE


def _structure(value: Any) -> float:
    """Return the tokens of a value as JSON."""
    try:
        return len(msgspec.json.encode(value)) / CODE
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return len(json.dumps(value, default=str)) / CODE


def _image(source: Any) -> float:
    data = source.get("data") if type(source) is dict else None
    pixels = _pixels_of(data) if type(data) is str else None
    return min(IMAGE_AT_MOST, max(1, pixels / PIXELS)) if pixels else IMAGE_AT_MOST


def _pixels_of(data: str) -> int | None:
    """Return the pixels of an image in base64, as its head says; None where that is not known."""
    try:
        head = base64.b64decode(data[:_HEAD].encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        return None
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _number(head[16:20]) * _number(head[20:24])
    if head[:4] == b"GIF8":
        return _number(head[6:8], "little") * _number(head[8:10], "little")
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8 ":
        return (_number(head[26:28], "little") & 0x3FFF) * (_number(head[28:30], "little") & 0x3FFF)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return (_number(head[24:27], "little") + 1) * (_number(head[27:30], "little") + 1)
    return _jpeg_pixels(head) if head[:2] == b"\xff\xd8" else None


def _jpeg_pixels(head: bytes) -> int | None:
    place = 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        kind = head[place + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return _number(head[place + 5 : place + 7]) * _number(head[place + 7 : place + 9])
        place += 2 + max(2, _number(head[place + 2 : place + 4]))
    return None


def _number(data: bytes, order: Literal["big", "little"] = "big") -> int:
    return int.from_bytes(data, order)
