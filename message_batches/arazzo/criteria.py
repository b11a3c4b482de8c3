"""Criteria, evaluated on API responses: a criterion is judged by its effect, not by its spelling."""

import re
import warnings
from dataclasses import dataclass, replace

from pydantic import JsonValue

from message_batches.arazzo.conditions import Predicate, SampleResponse, Token, operand, parse, tokenize
from message_batches.arazzo.model import Criterion
from message_batches.arazzo.yaml_source import DocumentError


@dataclass(frozen=True)
class CompiledCriterion:
    """A criterion compiled to a predicate on responses.

    Attributes:
        simple: the simple condition that a deviating criterion was read as.
        deviation: the error in a criterion that could nevertheless be read; None if it is correct.
    """

    holds: Predicate
    simple: str | None = None
    deviation: str | None = None


def compile_criterion(criterion: Criterion) -> CompiledCriterion:
    """Compile a criterion into a predicate.

    Raises:
        DocumentError: it is malformed, or needs a value that is unknown before a run.
    """
    pointer = criterion.at("condition")
    match criterion.language:
        case "simple":
            tokens = tokenize(criterion.condition, pointer, jsonpath=False)
            return CompiledCriterion(parse(tokens, pointer, jsonpath=False))
        case "jsonpath":
            return _jsonpath(criterion, pointer)
        case "regex":
            return _regex(criterion, pointer)
    why = "the API answers in JSON" if criterion.language == "xpath" else "which is true of nothing"
    raise DocumentError(criterion.at("type"), f"cannot be {criterion.language}, {why}; write a simple condition")


def _jsonpath(criterion: Criterion, pointer: str) -> CompiledCriterion:
    if criterion.context != "$response.body":
        raise DocumentError(criterion.at("context"), "must have the context $response.body to be tried as a JSONPath")
    text = criterion.condition.strip()
    is_filter = text.startswith("$[?") and text.endswith("]")
    tokens = tokenize(text[3:-1] if is_filter else text, pointer, jsonpath=True)
    holds = parse(tokens, pointer, jsonpath=True)
    simple = " ".join(map(_as_simple, tokens))
    if is_filter and any(token.kind == "path" and token.text.startswith("@") and token.pointer for token in tokens):
        # Literally, a filter on an object selects among its members; runners, and Arazzo's own examples, apply it
        # to the object.
        deviation = f"`{text}` filters the members of the batch; read as `{simple}`, about the batch itself"
        return CompiledCriterion(lambda answer: holds(replace(answer, subject=answer.body)), simple, deviation)
    if is_filter:
        return CompiledCriterion(lambda answer: any(holds(each) for each in _each_member(answer)))
    if any(token.kind == "operator" for token in tokens):
        return CompiledCriterion(holds, simple, f"`{text}` is not JSONPath (RFC 9535); read as `{simple}`")
    return CompiledCriterion(holds)


def _each_member(answer: SampleResponse) -> list[SampleResponse]:
    members: list[JsonValue] = list(answer.body.values()) if isinstance(answer.body, dict) else []
    return [replace(answer, subject=member) for member in members]


def _as_simple(token: Token) -> str:
    if token.kind == "quoted":
        return "'" + token.text[1:-1].replace("'", "''") + "'"
    if token.kind == "path":
        return f"$response.body#{token.pointer}" if token.pointer else "$response.body"
    return token.text


def _regex(criterion: Criterion, pointer: str) -> CompiledCriterion:
    if criterion.context is None:
        raise DocumentError(criterion.pointer, "lacks context, which a regex needs, such as $statusCode")
    value = operand(criterion.context, criterion.at("context"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Warnings about patterns that a later Python may read differently.
            pattern = re.compile(criterion.condition)
    except (re.error, OverflowError, RecursionError) as error:
        raise DocumentError(pointer, f"is not a regular expression: {error}") from None

    def holds(answer: SampleResponse) -> bool:
        found = value(answer)
        return isinstance(found, str | int) and pattern.search(str(found)) is not None

    return CompiledCriterion(holds)
