"""The rules of `metadata`, of the texts in `system` and of cache points: the emulator refuses by them, the check warns.

They are those of the types of `anthropic` 2.14.0 and of the API's guide to prompt caching; messages are in the words
that its users report.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

MAX_CACHE_POINTS = 4
PLAIN_CACHE_POINT = {"type": "ephemeral"}
"""A cache point as nearly all are."""

_LIFETIMES = ("5m", "1h")
RESULT_CONTENT = ".tool_result.content"
"""The end of the place of the blocks of a tool's result."""


class PromptProblem(NamedTuple):
    """A reason why a request comes back errored.

    Attributes:
        message: the API's message, which begins with the place.
        reason: the same for the reader of a file, without the place; `{}` stands for `name`.
        name: a name or value from the request.
        certain: False if a beta may allow it.
    """

    message: str
    reason: str
    name: str = ""
    certain: bool = True


class _CachePoint(NamedTuple):
    """A `cache_control` with the place of its block; `kind` is the block's type where the API's paths have it."""

    at: str
    kind: str
    control: object

    @property
    def path(self) -> str:
        return ".".join(filter(None, (self.at, self.kind, "cache_control")))

    @property
    def lifetime(self) -> object:
        return (self.control.get("ttl") or _LIFETIMES[0]) if isinstance(self.control, dict) else None


def find_prompt_problems(params: Mapping[str, object]) -> Iterator[PromptProblem]:
    """Yield what is wrong in these parts of a request."""
    metadata, system = params.get("metadata"), params.get("system")
    if metadata is not None:
        yield from _of_metadata(metadata)
    if isinstance(system, list):
        yield from _of_system(system)
    yield from _of_cache_points(_cache_points(params))


def _of_metadata(metadata: object) -> Iterator[PromptProblem]:
    if not isinstance(metadata, dict):
        yield PromptProblem("metadata: Input should be a valid dictionary", "`metadata` is not an object")
        return
    if not isinstance(metadata.get("user_id"), str | None):
        yield PromptProblem("metadata.user_id: Input should be a valid string", "`metadata.user_id` is not a text")
    for name in metadata:
        if name != "user_id":
            message = f"metadata.{name}: Extra inputs are not permitted"
            yield PromptProblem(message, "{} is not a field of `metadata`, which has `user_id` alone", name)


def _of_system(system: list[object]) -> Iterator[PromptProblem]:
    for number, block in enumerate(system):
        if not isinstance(block, dict):
            yield PromptProblem(
                f"system.{number}: Input should be a valid dictionary", "a block of `system` is not an object"
            )
            continue
        kind, text = block.get("type"), block.get("text")
        if kind != "text":
            yield PromptProblem(_tag(f"system.{number}", kind, "text"), "a block of `system` is not of the type `text`")
        elif not isinstance(text, str):
            problem = "Input should be a valid string" if "text" in block else "Field required"
            yield PromptProblem(f"system.{number}.text: {problem}", "a block of `system` has no text")
        elif not text:
            cached = block.get("cache_control") is not None
            empty, marked = (
                "system: text content blocks must be non-empty",
                "cache_control cannot be set for empty text",
            )
            yield PromptProblem(
                f"system.{number}: {marked} blocks" if cached else empty, "a block of `system` is empty"
            )
        elif text.isspace():
            message = "system: text content blocks must contain non-whitespace text"
            yield PromptProblem(message, "a block of `system` is blank")


def _cache_points(params: Mapping[str, object]) -> list[_CachePoint]:
    """Return the cache points in the API's order; the one of the whole request is that of its last block."""
    points: list[_CachePoint] = []
    last: object = None
    for name in ("tools", "system"):
        parts = params.get(name)
        if isinstance(parts, list):
            _collect(points, name, parts)
    messages = params.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = last = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            _collect(points, f"messages.{number}.content", content)
    if params.get("cache_control") is not None:
        block = last[-1] if isinstance(last, list) and last else None
        if not isinstance(block, dict) or block.get("cache_control") is None:
            points.append(_CachePoint("", "", params["cache_control"]))
    return points


def _collect(points: list[_CachePoint], at: str, blocks: list[object]) -> None:
    """Add the cache points of blocks; the results of tools have blocks of their own, and those no others."""
    for place, block in enumerate(blocks):
        if not isinstance(block, dict):
            continue
        if (
            block.get("type") == "tool_result"
            and isinstance(block.get("content"), list)
            and not at.endswith(RESULT_CONTENT)
        ):
            _collect(points, f"{at}.{place}{RESULT_CONTENT}", block["content"])
        if block.get("cache_control") is not None:
            # The blocks of `system` are of one type, so the API's paths do not name it.
            kind = "" if at == "system" else str(block.get("type") or "custom")
            points.append(_CachePoint(f"{at}.{place}", kind, block["cache_control"]))


def _of_cache_points(points: list[_CachePoint]) -> Iterator[PromptProblem]:
    for point in points:
        if point.control != PLAIN_CACHE_POINT:
            yield from _of_cache_point(point)
    if len(points) > MAX_CACHE_POINTS:
        message = f"A maximum of {MAX_CACHE_POINTS} blocks with cache_control may be provided. Found {len(points)}."
        yield PromptProblem(message, f"more than {MAX_CACHE_POINTS} blocks have a `cache_control`")
    if all(point.control == PLAIN_CACHE_POINT for point in points):
        return
    short = False
    for point in points:
        if short and point.lifetime == "1h":
            yield PromptProblem(
                f"{'.'.join(filter(None, (point.at, 'cache_control')))}.ttl: a ttl='1h' cache_control block must not "
                "come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: "
                "`tools`, `system`, `messages`.",
                "a `cache_control` of 1h comes after one of 5m, in the order of tools, system and messages",
            )
            return
        short = short or point.lifetime == "5m"


def _of_cache_point(point: _CachePoint) -> Iterator[PromptProblem]:
    control, path = point.control, point.path
    if not isinstance(control, dict):
        yield PromptProblem(f"{path}: Input should be a valid dictionary", "a `cache_control` is not an object")
    elif control.get("type") != "ephemeral":
        message = _tag(path, control.get("type"), "ephemeral")
        yield PromptProblem(message, "a `cache_control` is not of the type `ephemeral`")
    else:
        if control.get("ttl") not in (None, *_LIFETIMES):
            message = f"{path}.ephemeral.ttl: Input should be '5m' or '1h'"
            yield PromptProblem(message, "the `ttl` of a `cache_control` is neither 5m nor 1h")
        for name in control:
            if name not in ("type", "ttl"):
                message = f"{path}.ephemeral.{name}: Extra inputs are not permitted"
                yield PromptProblem(message, "{} is not a field of `cache_control`", name, certain=False)


def _tag(at: str, kind: object, expected: str) -> str:
    if not isinstance(kind, str):
        return f"{at}: Unable to extract tag using discriminator 'type'"
    return f"{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: '{expected}'"
