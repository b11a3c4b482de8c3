"""The language of conditions: comparisons, `&&`, `||`, `!` and parentheses over the parts of an API response."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from message_batches.arazzo.yaml_source import DocumentError


@dataclass(frozen=True)
class SampleResponse:
    """A response of the API, reduced to the parts that conditions read.

    Attributes:
        subject: the value of `@` in a JSONPath filter.
    """

    status: int
    body: JsonValue = None
    subject: JsonValue = None


@dataclass(frozen=True)
class Token:
    """A word of a condition; `kind` is the name of its group in the grammar."""

    kind: str
    text: str

    @property
    def pointer(self) -> str:
        """Convert a path such as `$.a['b']` to a JSON pointer."""
        names = ("".join(found.groups(default="")) for found in _MEMBER.finditer(self.text))
        return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


class _Missing:
    """The value of a pointer to nothing; it equals nothing, not even itself."""


_MISSING: Final = _Missing()
_Value = JsonValue | _Missing
_Operand = Callable[[SampleResponse], _Value]
Predicate = Callable[[SampleResponse], bool]

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<operator>==|!=|<=|>=|<|>|&&|\|\||!|\(|\))
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"[^"\\]*")
  | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])
  | (?P<literal>true|false|null)\b
  | (?P<path>[$@](?:\.[A-Za-z_]\w*|\['[^'\\]*'\]|\["[^"\\]*"\])*)(?![\w.#\[])
  | (?P<expression>\$[^\s()=!<>&|]+)
    )""",
    re.VERBOSE,
)
_MOST_NESTED = 50
"""Parentheses and negations: reading and trying a condition take some calls for each."""
_MEMBER = re.compile(r"""\.([A-Za-z_]\w*)|\[(?:'([^']*)'|"([^"]*)")\]""")
_FOREIGN = {
    "quoted": "a simple condition has its strings in single quotes",
    "path": "a simple condition names a member of the answer as $response.body#/name",
    "expression": "a JSONPath names a member of the answer as $.name",
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def tokenize(text: str, pointer: str, *, jsonpath: bool) -> list[Token]:
    """Split a condition into words.

    Raises:
        DocumentError: at `pointer`, the text is not of this language.
    """
    tokens: list[Token] = []
    position, end = 0, len(text.rstrip())
    foreign = ("expression",) if jsonpath else ("quoted", "path")
    while position < end:
        match = _TOKEN.match(text, position)
        kind = match.lastgroup if match else None
        if match is None or kind is None or kind in foreign:
            hint = f"; {_FOREIGN[kind]}" if kind in foreign and kind else ""
            raise DocumentError(pointer, f"cannot be read from `{text[position:end].strip()}` on{hint}")
        tokens.append(Token(kind, match.group(kind)))
        position = match.end()
    return tokens


def parse(tokens: list[Token], pointer: str, *, jsonpath: bool) -> Predicate:
    """Build a condition from its words.

    Raises:
        DocumentError: at `pointer`, the words are not a condition, or need a value that is unknown before a run.
    """
    if sum(token.kind == "operator" and token.text in ("(", "!") for token in tokens) > _MOST_NESTED:
        raise DocumentError(pointer, "is nested too deep")
    return _Parser(tokens, pointer, jsonpath).condition()


def operand(expression: str, pointer: str) -> _Operand:
    """Return the value of a runtime expression for a response.

    Raises:
        DocumentError: at `pointer`, the expression is not about the response.
    """
    if expression == "$statusCode":
        return lambda answer: answer.status
    body = re.fullmatch(r"\$response\.body(?:#(/.*))?", expression)
    if not body:
        known = "only $statusCode and $response.body#/... can be judged before a run"
        raise DocumentError(pointer, f"reads `{expression}`; {known}")
    return _look(body[1] or "")


class _Parser:
    """A recursive-descent parser with one method for each level of precedence."""

    def __init__(self, tokens: list[Token], pointer: str, jsonpath: bool) -> None:
        self._tokens = [*tokens, Token("end", "")]
        self._pointer = pointer
        self._jsonpath = jsonpath

    def condition(self) -> Predicate:
        predicate = self._either()
        if self._tokens[0].kind != "end":
            raise DocumentError(self._pointer, f"has `{self._tokens[0].text}` where it should end")
        return predicate

    def _take(self, *operators: str) -> str | None:
        first = self._tokens[0]
        if first.kind != "operator" or first.text not in operators:
            return None
        return self._tokens.pop(0).text

    def _either(self) -> Predicate:
        parts = [self._both()]
        while self._take("||"):
            parts.append(self._both())
        return lambda answer: any(part(answer) for part in parts)

    def _both(self) -> Predicate:
        parts = [self._single()]
        while self._take("&&"):
            parts.append(self._single())
        return lambda answer: all(part(answer) for part in parts)

    def _single(self) -> Predicate:
        if self._take("!"):
            inner = self._single()
            return lambda answer: not inner(answer)
        if self._take("("):
            inner = self._either()
            if not self._take(")"):
                raise DocumentError(self._pointer, "lacks a closing parenthesis")
            return inner
        left = self._operand()
        comparison = self._take("==", "!=", *_ORDER)
        if comparison:
            right = self._operand()
            return lambda answer: _compare(left(answer), comparison, right(answer), exact=self._jsonpath)
        # In JSONPath a path alone tests whether the member exists; in a simple condition, whether it is true.
        if self._jsonpath:
            return lambda answer: left(answer) is not _MISSING
        return lambda answer: left(answer) is True

    def _operand(self) -> _Operand:
        token = self._tokens[0]
        if token.kind in ("end", "operator"):
            raise DocumentError(self._pointer, f"lacks a value before `{token.text}`" if token.text else "ends early")
        self._tokens.pop(0)
        match token.kind:
            case "path":
                return _look(token.pointer, subject=token.text.startswith("@"))
            case "expression":
                return operand(token.text, self._pointer)
        value: JsonValue = {"true": True, "false": False, "null": None}.get(token.text)
        if token.kind in ("string", "quoted"):
            value = token.text[1:-1].replace("''", "'") if token.kind == "string" else token.text[1:-1]
        elif token.kind == "number":
            value = float(token.text)
        return lambda _: value


def _look(pointer: str, *, subject: bool = False) -> _Operand:
    names = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]

    def value(answer: SampleResponse) -> _Value:
        here: _Value = answer.subject if subject else answer.body
        for name in names:
            here = here[name] if isinstance(here, Mapping) and name in here else _MISSING
        return here

    return value


def _compare(left: _Value, comparison: str, right: _Value, *, exact: bool) -> bool:
    texts = isinstance(left, str) and isinstance(right, str)
    if texts and not exact:
        # Arazzo compares strings case-insensitively, JSONPath case-sensitively.
        left, right = str(left).casefold(), str(right).casefold()
    if comparison in ("==", "!="):
        same = left is not _MISSING and isinstance(left, bool) == isinstance(right, bool) and left == right
        return same == (comparison == "==")
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (left, right))
    return (texts or numbers) and _ORDER[comparison](left, right)
