"""Reading a prompt: the text to quote in the reply, and the number of its tokens."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

_EXCERPT = 80
_CITED = 200
_CITABLE: Mapping[str, type] = {"document": dict, "search_result": str}
"""The types of content that can be cited, each with that of its source."""
CHARACTERS_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_IMAGE = 1_500

# With fewer tokens the API caches nothing, whatever cache_control says.
_LEAST_CACHED = 1_024
CacheLifetime = Literal["5m", "1h"]

REDACTED_THINKING = (
    "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB"
)
"""The text by which the API's guide has clients test redacted thinking."""

Thinking = Literal["summarized", "omitted", "redacted"]


class Prompt(NamedTuple):
    """A prompt, reduced to what replies need; the three token counts add up to its whole input."""

    excerpt: str
    digest: int
    input_tokens: int
    cache_written: int
    cache_read: int
    cache_lifetime: CacheLifetime
    tool: str | None
    """The tool that the reply uses."""
    schema: str | None
    """The JSON schema of the tool's input, or of the reply's text."""
    thinking: Thinking | None
    """The form in which the reply begins with thinking, None if it does not."""
    stops: tuple[str, ...]
    """The texts at which the reply ends."""
    citation: str | None
    """What the reply cites, as JSON."""
    inference_geo: str = "global"
    searches: int = 0
    """The calls of the provider's web search, and of its web fetch, that are billed."""
    fetches: int = 0


EMPTY = Prompt("", 0, 0, 0, 0, "5m", None, None, None, (), None)


class PromptReader:
    """A reader of the prompts of one batch; a prefix marked for caching is written once and read from then on."""

    def __init__(self) -> None:
        self._cached: set[bytes] = set()
        # The requests of a batch mostly have the same few schemas and documents.
        self._texts: dict[str, str] = {}

    def read(self, params: dict[str, object], *, shows_thinking: bool) -> Prompt:
        """Measure a valid request's prompt; `shows_thinking` is how its model answers without a `display`."""
        prefix = hashlib.blake2b(digest_size=16)
        tokens = 0
        marked: tuple[int, bytes, CacheLifetime] | None = None
        for part in _parts(params):
            text = _text(part)
            prefix.update(text.encode("utf-8", "surrogatepass"))
            tokens += _tokens(part, text)
            control = part.get("cache_control") if isinstance(part, dict) else None
            if isinstance(control, dict):
                marked = tokens, prefix.digest(), "1h" if control.get("ttl") == "1h" else "5m"
        control = params.get("cache_control")
        if isinstance(control, dict):
            marked = tokens, prefix.digest(), "1h" if control.get("ttl") == "1h" else "5m"

        written = read = 0
        lifetime: CacheLifetime = "5m"
        if marked is not None and marked[0] >= _LEAST_CACHED:
            size, name, lifetime = marked
            if name in self._cached:
                read = size
            else:
                written = size
                self._cached.add(name)
        last = _last_user_text(params)
        digest = hashlib.blake2b(last.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        tool, schema = _wanted(params)
        return Prompt(
            _excerpt(last),
            int.from_bytes(digest, "big"),
            max(1, tokens - written - read),
            written,
            read,
            lifetime,
            tool,
            self._once(schema),
            _thinking(params.get("thinking"), last, shows_thinking=shows_thinking),
            _stops(params.get("stop_sequences")),
            self._once(_citation(params["messages"])),
            str(params.get("inference_geo") or "global"),
            _calls_of(params, "web_search_"),
            _calls_of(params, "web_fetch_"),
        )

    def _once(self, value: object) -> str | None:
        """Return a value as JSON; equal ones are one text."""
        if value is None:
            return None
        written = json.dumps(value)
        return self._texts.setdefault(written, written)


def _parts(params: dict[str, object]) -> Iterator[object]:
    for name in ("tools", "system"):
        value = params.get(name)
        if isinstance(value, list):
            yield from value
        elif value:
            yield value
    messages = params["messages"]
    for message in messages if isinstance(messages, list) else ():
        content = message["content"]
        if isinstance(content, list):
            yield from content
        else:
            yield content


def _text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, dict) and part.get("type") == "tool_result":
        content = part.get("content", "")
        return "\n".join(map(_text, content if isinstance(content, list) else [content]))
    # Images and documents too: two requests that differ in a picture alone are two different questions.
    return json.dumps(part, sort_keys=True)


def _tokens(part: object, text: str) -> int:
    if isinstance(part, dict) and part.get("type") == "image":
        return _PER_IMAGE
    return _PER_MESSAGE + -(-len(text) // CHARACTERS_PER_TOKEN)


def _last_user_text(params: dict[str, object]) -> str:
    messages = params["messages"]
    if not isinstance(messages, list):
        return ""
    for message in reversed(messages):
        if message["role"] == "user":
            content: Any = message["content"]
            return content if isinstance(content, str) else "\n".join(map(_text, sorted(content, key=_is_not_text)))
    return ""


def _is_not_text(block: object) -> bool:
    return not (isinstance(block, dict) and block.get("type") == "text")


def _excerpt(text: str) -> str:
    # A lone surrogate cannot be encoded as UTF-8.
    head = text[: 4 * _EXCERPT].encode("utf-8", "replace").decode()
    head = " ".join(head.split())
    return head if len(head) <= _EXCERPT else head[: _EXCERPT - 1].rstrip() + "…"


def _thinking(config: object, last: str, *, shows_thinking: bool) -> Thinking | None:
    """Return the form of the thinking before a reply; `between_tools` is without any there."""
    if not isinstance(config, dict) or config.get("type") not in ("adaptive", "enabled"):
        return None
    if REDACTED_THINKING in last:
        return "redacted"
    display = config.get("display") or ("summarized" if shows_thinking else "omitted")
    return "summarized" if display == "summarized" else "omitted"


def _stops(sequences: object) -> tuple[str, ...]:
    return tuple(filter(None, dict.fromkeys(map(str, sequences)))) if isinstance(sequences, list) else ()


def _calls_of(params: Mapping[str, object], kind: str) -> int:
    """Return how often a reply uses a tool of the provider's: once each that it is offered."""
    tools = params.get("tools")
    return sum(
        isinstance(tool, dict) and str(tool.get("type", "")).startswith(kind)
        for tool in (tools if isinstance(tools, list) else ())
    )


def _citation(messages: object) -> dict[str, object] | None:
    """Return what a reply cites: the beginning of the first document, or search result, with citations."""
    places: Counter[str] = Counter()
    for message in messages if isinstance(messages, list) else ():
        for block in message["content"] if isinstance(message["content"], list) else ():
            kind, asked = str(block.get("type")), block.get("citations")
            if (
                kind in _CITABLE
                and isinstance(block.get("source"), _CITABLE[kind])
                and isinstance(asked, dict)
                and asked.get("enabled")
            ):
                return _location(block, kind, places[kind])
            places[kind] += 1
    return None


def _location(block: dict[str, Any], kind: str, place: int) -> dict[str, object]:
    if kind == "search_result":
        text, named = _beginning(block.get("content")), {"source": block.get("source"), "title": block.get("title")}
        found = {"type": "search_result_location", "cited_text": text, "search_result_index": place, **named}
        return {**found, "start_block_index": 0, "end_block_index": 1}
    source: dict[str, Any] = block["source"]
    form = source.get("type")
    if form == "text":
        text = _beginning(source.get("data"))
        kind, ends = "char_location", {"start_char_index": 0, "end_char_index": len(text)}
    elif form == "content":
        text = _beginning(source.get("content"))
        kind, ends = "content_block_location", {"start_block_index": 0, "end_block_index": 1}
    else:
        text, kind, ends = "The first page.", "page_location", {"start_page_number": 1, "end_page_number": 2}
    named = {"document_index": place, "document_title": block.get("title"), "file_id": None}
    return {"type": kind, "cited_text": text, **named, **ends}


def _beginning(content: object) -> str:
    text = _text(content[0]) if isinstance(content, list) and content else str(content or "")
    end = text.find(". ", 0, _CITED)
    return text[: end + 2 if end >= 0 else _CITED]


def _wanted(params: dict[str, object]) -> tuple[str | None, object]:
    """Return the tool that the reply uses, if any, and the schema that the reply follows.

    A model that may choose uses each tool of the caller's once, in their order, and then answers: so an agent gets
    through its tools to its answer.
    """
    if not _ASKS_FOR_FORM & params.keys():
        return None, None
    choice, tools = params.get("tool_choice"), params.get("tools")
    kind = choice.get("type") if isinstance(choice, dict) else "auto"
    offered = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    # A tool of the server's has no schema here.
    callers = [tool for tool in offered if "input_schema" in tool]
    if kind == "tool" and isinstance(choice, dict):
        callers = [
            {"input_schema": {"type": "object"}, **tool} for tool in offered if tool.get("name") == choice.get("name")
        ]
    elif kind in ("any", "auto"):
        used = set(_used_tools(params["messages"]))
        callers = [tool for tool in callers if tool.get("name") not in used] or (callers if kind == "any" else [])
    if callers and kind != "none":
        return str(callers[0].get("name")), callers[0]["input_schema"]
    config = params.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    # The field on its own is the older beta's.
    form = form or params.get("output_format")
    return None, form.get("schema") if isinstance(form, dict) else None


_ASKS_FOR_FORM = frozenset(("tools", "output_config", "output_format"))


def _used_tools(messages: object) -> Iterator[object]:
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message["content"], list):
            yield from (block.get("name") for block in message["content"] if block.get("type") == "tool_use")
