"""The forms of content blocks, sources, tools and options: the emulator refuses by them, the check warns.

The fields are those of the types of `anthropic` 2.14.0, of its betas too; of other kinds than these nothing is said.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from message_batches.prompt_rules import (
    MAX_CACHE_POINTS,
    PLAIN_CACHE_POINT,
    RESULT_CONTENT,
    PromptProblem,
    find_prompt_problems,
)


class _Form(NamedTuple):
    fields: frozenset[str]
    needed: tuple[str, ...]


def _form(needed: str, more: str = "") -> _Form:
    return _Form(frozenset(("type", *needed.split(), *more.split())), tuple(needed.split()))


_TEXT = _form("text", "cache_control citations")
_BLOCKS: Mapping[str, _Form] = {
    "text": _TEXT,
    "image": _form("source", "cache_control transformations"),
    "document": _form("source", "cache_control citations context title"),
    "search_result": _form("content source title", "cache_control citations"),
    "thinking": _form("signature thinking"),
    "redacted_thinking": _form("data"),
    "tool_use": _form("id name input", "cache_control caller toolset_name"),
    "tool_result": _form("tool_use_id", "cache_control content is_error toolset_name"),
}
_SOURCES: Mapping[str, _Form] = {
    "base64": _form("data media_type"),
    "url": _form("url"),
    "file": _form("file_id"),
    "text": _form("data media_type"),
    "content": _form("content"),
}
_SOURCES_OF: Mapping[str, Mapping[str, _Form]] = {
    "document": _SOURCES,
    "image": {kind: _SOURCES[kind] for kind in ("base64", "file", "url")},
}
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MEDIA: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("image", "base64"): _PICTURES,
    ("document", "base64"): ("application/pdf",),
    ("document", "text"): ("text/plain",),
}
_OPTIONS: Mapping[str, Mapping[str, _Form]] = {
    "tool_choice": {
        "any": _form("", "disable_parallel_tool_use"),
        "auto": _form("", "disable_parallel_tool_use"),
        "none": _form(""),
        "tool": _form("name", "disable_parallel_tool_use"),
    },
    "thinking": {
        "adaptive": _form("", "block_binding display"),
        "between_tools": _form(""),
        "disabled": _form(""),
        "enabled": _form("budget_tokens", "block_binding display"),
    },
}
_TOOL = _form(
    "name input_schema",
    "allowed_callers cache_control defer_loading description eager_input_streaming input_examples strict",
)

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FORMAT = _form("schema")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_CHECKED = frozenset(
    (
        "cache_control",
        "metadata",
        "output_config",
        "service_tier",
        "stop_sequences",
        "thinking",
        "tool_choice",
        "tools",
    )
)
"""The fields, besides the messages and `system`, that are looked at here."""


def find_form_problems(params: Mapping[str, object]) -> Iterator[PromptProblem]:
    """Return what is wrong in the forms of a request's parts, as far as they are of a known kind."""
    if _is_ordinary(params):
        return iter(())
    return chain(find_prompt_problems(params), _of_tools(params), _of_options(params), _of_messages(params))


def _is_ordinary(params: Mapping[str, object]) -> bool:
    """Return whether a request has texts alone, as most have: with 100,000 of them this saves a tenth of a check."""
    if not _CHECKED.isdisjoint(params):
        return False
    points, system, messages = 0, params.get("system"), params.get("messages")
    parts = [system]
    for message in messages if isinstance(messages, list) else ():
        parts.append(message.get("content") if isinstance(message, dict) else None)
    for part in parts:
        for block in part if isinstance(part, list) else ():
            if not isinstance(block, dict) or block.get("type") != "text" or not block.keys() <= _TEXT.fields:
                return False
            if "cache_control" in block:
                points += 1
                if block["cache_control"] != PLAIN_CACHE_POINT:
                    return False
            text = block.get("text")
            if not isinstance(text, str) or not text or text.isspace():
                return False
    return points <= MAX_CACHE_POINTS


def _of_options(params: Mapping[str, object]) -> Iterator[PromptProblem]:
    for name, forms in _OPTIONS.items():
        option = params.get(name)
        if isinstance(option, dict) and (form := _known(forms, option)):
            yield from _of_form(f"{name}.{option['type']}", f"`{name}`", option, form)
    if params.get("stop_sequences") is not None:
        yield from _of_stop_sequences(params["stop_sequences"])
    config = params.get("output_config")
    if isinstance(config, dict):
        yield from _of_output(config)
    elif config is not None:
        yield PromptProblem("output_config: Input should be a valid dictionary", "`output_config` is not an object")
    if params.get("service_tier") not in (None, "auto", "standard_only"):
        message = "service_tier: Input should be 'auto' or 'standard_only'"
        yield PromptProblem(message, "`service_tier` is neither auto nor standard_only")


def _of_tools(params: Mapping[str, object]) -> Iterator[PromptProblem]:
    tools = params.get("tools")
    listed = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    for number, tool in enumerate(listed):
        if tool.get("type") in (None, "custom"):
            yield from _of_tool(f"tools.{number}.custom", tool)
    names = [tool["name"] for tool in listed if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        yield PromptProblem("tools: Tool names must be unique.", "two tools have the same name")


def _of_tool(at: str, tool: dict[str, Any]) -> Iterator[PromptProblem]:
    yield from _of_form(at, "a tool", tool, _TOOL)
    name, schema = tool.get("name", ""), tool.get("input_schema", {})
    if not isinstance(name, str):
        yield PromptProblem(f"{at}.name: Input should be a valid string", "the name of a tool is not a text")
    elif "name" in tool and not _TOOL_NAME.fullmatch(name):
        message = f"{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        yield PromptProblem(message, "the name of a tool is not 1 to 128 of the characters a-z, A-Z, 0-9, _ and -")
    if not isinstance(schema, dict):
        message = f"{at}.input_schema: Input should be a valid dictionary"
        yield PromptProblem(message, "the `input_schema` of a tool is not an object")
    elif "input_schema" in tool and schema.get("type") != "object":
        problem = "Input should be 'object'" if "type" in schema else "Field required"
        yield PromptProblem(
            f"{at}.input_schema.type: {problem}", "the `input_schema` of a tool is not of the type object"
        )


def _of_stop_sequences(stops: object) -> Iterator[PromptProblem]:
    if not isinstance(stops, list):
        yield PromptProblem("stop_sequences: Input should be a valid list", "`stop_sequences` is not a list")
        return
    for number, stop in enumerate(stops):
        if not isinstance(stop, str):
            message = f"stop_sequences.{number}: Input should be a valid string"
            yield PromptProblem(message, "a stop sequence is not a text")
        elif not stop.strip():
            message = "stop_sequences: each stop sequence must contain non-whitespace"
            yield PromptProblem(message, "a stop sequence is blank")


def _of_output(config: dict[str, Any]) -> Iterator[PromptProblem]:
    at, form = "output_config.format", config.get("format")
    if config.get("effort") not in (None, *_EFFORTS):
        message = f"output_config.effort: Input should be {', '.join(map(repr, _EFFORTS[:-1]))} or '{_EFFORTS[-1]}'"
        yield PromptProblem(message, f"`output_config.effort` is none of {', '.join(_EFFORTS)}")
    if form is None:
        return
    if not isinstance(form, dict):
        yield PromptProblem(f"{at}: Input should be a valid dictionary", "`output_config.format` is not an object")
    elif form.get("type") != "json_schema":
        message = f"{at}.type: Input should be 'json_schema'"
        yield PromptProblem(message, "`output_config.format` is not of the type json_schema")
    else:
        yield from _of_form(at, "`output_config.format`", form, _FORMAT)
        if not isinstance(form.get("schema", {}), dict):
            message = f"{at}.schema: Input should be a valid dictionary"
            yield PromptProblem(message, "the `schema` of `output_config.format` is not an object")


def _of_messages(params: Mapping[str, object]) -> Iterator[PromptProblem]:
    messages = params.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            yield from _of_content(f"messages.{number}.content", content)


def _of_content(at: str, content: list[object]) -> Iterator[PromptProblem]:
    for place, block in enumerate(content):
        if not isinstance(block, dict) or not (form := _known(_BLOCKS, block)):
            continue
        kind = block["type"]
        if kind != "text" or not block.keys() <= form.fields:
            yield from _of_form(f"{at}.{place}.{kind}", f"a block of the type `{kind}`", block, form)
        if kind in _SOURCES_OF and "source" in block:
            yield from _of_source(f"{at}.{place}.{kind}.source", kind, block["source"])
        if kind == "tool_use" and not isinstance(block.get("input", {}), dict):
            message = f"{at}.{place}.tool_use.input: Input should be a valid dictionary"
            yield PromptProblem(message, "the `input` of a `tool_use` is not an object")
        # The blocks of a result hold no others: no depth of a file makes this one deep.
        if kind == "tool_result" and isinstance(block.get("content"), list) and not at.endswith(RESULT_CONTENT):
            yield from _of_content(f"{at}.{place}{RESULT_CONTENT}", block["content"])


def _of_source(at: str, kind: str, source: object) -> Iterator[PromptProblem]:
    forms = _SOURCES_OF[kind]
    if not isinstance(source, dict):
        yield PromptProblem(f"{at}: Input should be a valid dictionary", f"the source of a `{kind}` is not an object")
        return
    form = _known(forms, source)
    if form is None:
        given = source.get("type")
        message = f"{at}: Unable to extract tag using discriminator 'type'"
        if isinstance(given, str):
            tags = ", ".join(f"'{tag}'" for tag in sorted(forms))
            message = f"{at}: Input tag '{given}' found using 'type' does not match any of the expected tags: {tags}"
        yield PromptProblem(message, f"the source of a `{kind}` is of none of the types {', '.join(sorted(forms))}")
        return
    given = source["type"]
    yield from _of_form(f"{at}.{given}", f"a source of the type `{given}`", source, form)
    media = _MEDIA.get((kind, given), ())
    if media and "media_type" in source and source["media_type"] not in media:
        message = f"{at}.{given}.media_type: Input should be {' or '.join(map(repr, media))}"
        yield PromptProblem(message, f"the `media_type` of a `{kind}` is not {' or '.join(media)}")
    if given == "base64" and str(source.get("data")).startswith("data:"):
        message = f"{at}.base64.data: Invalid base64 data"
        yield PromptProblem(message, "the `data` of a source is a URL: write what comes after `base64,` alone")


def _of_form(at: str, what: str, value: dict[str, object], form: _Form) -> Iterator[PromptProblem]:
    for name in form.needed:
        if name not in value:
            yield PromptProblem(f"{at}.{name}: Field required", f"{what} has no {{}}", name)
    if not value.keys() <= form.fields:
        yield from _extra(at, what, value, form)


def _extra(at: str, what: str, value: dict[str, object], form: _Form) -> Iterator[PromptProblem]:
    for name in value:
        if name not in form.fields:
            message = f"{at}.{name}: Extra inputs are not permitted"
            # A cache point in a block that cannot have one is documented; another field may be a later one.
            certain = name == "cache_control"
            yield PromptProblem(message, f"{{}} is not a field of {what}", name, certain=certain)


def _known(forms: Mapping[str, _Form], value: dict[str, object]) -> _Form | None:
    kind = value.get("type")
    return forms.get(kind) if isinstance(kind, str) else None
