"""Reading the body of a create as it arrives: each request is checked, measured and released.

The body is never held as a whole, so a batch of 256 MB costs the memory of its records alone. Parsing it in a thread
would not help the other clients, for the JSON parser holds the interpreter; parsing a slice with each chunk does.
"""

import codecs
import json
import re
from collections.abc import Generator

from message_batches.emulator.batches import BatchRequest
from message_batches.emulator.create_validation import RequestCollector
from message_batches.emulator.errors import ErrorReply, invalid

_SPACE = re.compile(r"[ \t\n\r]*")

# Yields whenever it needs more text.
Steps = Generator[None, None, None]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class BodyReader:
    """An incremental JSON parser that releases every request it has passed on."""

    def __init__(self, collector: RequestCollector) -> None:
        self._collector = collector
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._pending: list[str] = []
        self._pending_size = 0
        self._wanted = 1
        self._text = ""
        self._at = 0
        self._passed = 0
        self._final = False
        self._steps = self._document()
        next(self._steps)

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes; raise the 400 as soon as they are certainly not JSON."""
        try:
            text = self._decode(chunk)
        except UnicodeDecodeError as error:
            raise _not_json(f"not UTF-8, {error.reason}") from error
        self._pending.append(text)
        self._pending_size += len(text)
        if self._pending_size >= self._wanted:
            self._go_on()

    def finish(self) -> list[BatchRequest]:
        """Return the requests of the complete body, or raise the 400 that says what is wrong."""
        try:
            self._pending.append(self._decode(b"", True))
        except UnicodeDecodeError as error:
            raise _not_json(f"not UTF-8, {error.reason}") from error
        self._final = True
        self._go_on()
        return self._collector.finish()

    def _go_on(self) -> None:
        self._passed += self._at
        self._text = self._text[self._at :] + "".join(self._pending)
        self._at = 0
        self._pending.clear()
        self._pending_size = 0
        self._wanted = 1
        try:
            next(self._steps, None)
        except json.JSONDecodeError as error:
            raise _not_json(f"{error.msg}: char {self._passed + error.pos}") from error
        except (ValueError, RecursionError) as error:
            raise _not_json(str(error)) from error

    def _document(self) -> Steps:
        yield
        if (yield from self._peek()) != "{":
            yield from self._value()
            self._collector.no_object()
        else:
            self._at += 1
            yield from self._fields()
        if (yield from self._peek()):
            raise self._error("Extra data")

    def _fields(self) -> Steps:
        if (yield from self._peek()) == "}":
            self._at += 1
            return
        while True:
            if (yield from self._peek()) != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            name = yield from self._value()
            yield from self._one_of(":")
            if name == "requests" and (yield from self._peek()) == "[":
                self._at += 1
                yield from self._items()
            else:
                yield from self._value()
                self._collector.other(str(name))
            if (yield from self._one_of(",}")) == "}":
                return

    def _items(self) -> Steps:
        self._collector.open()
        if (yield from self._peek()) == "]":
            self._at += 1
            return
        while True:
            self._collector.add((yield from self._value()))
            if (yield from self._one_of(",]")) == "]":
                return

    def _peek(self) -> Generator[None, None, str]:
        """Return the next character that is not a space, or an empty text at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._final:
                return ""
            yield

    def _one_of(self, characters: str) -> Generator[None, None, str]:
        found = yield from self._peek()
        if not found or found not in characters:
            raise self._error(f"Expecting '{characters[0]}' delimiter")
        self._at += 1
        return found

    def _value(self) -> Generator[None, None, object]:
        yield from self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._final:
                    raise
            else:
                # A number at the end of the text may continue in the next chunk.
                if end < len(self._text) or self._final:
                    self._at = end
                    return value
            # Retrying at every chunk would take quadratic time for one huge request.
            self._wanted = len(self._text) - self._at
            yield

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, self._at)


def _not_json(why: str) -> ErrorReply:
    return invalid(f"The request body is not valid JSON: {why}")
