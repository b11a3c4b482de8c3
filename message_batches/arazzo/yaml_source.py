"""A YAML file as plain JSON data: bounded, unambiguous, and with the line of every value."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import JsonValue

from message_batches.errors import MessageBatchesError
from message_batches.formatting import escape_unprintable

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
"""Most values in a file. Aliases are expanded while counting, so a file of a few lines cannot unfold into gigabytes."""

MAX_DEPTH = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"

CORE_SCALARS = tuple(
    (_TAG + name, re.compile(f"^(?:{pattern})$"), list(first))
    for name, pattern, first in (
        ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
        ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    )
)
"""The types of plain scalars in YAML 1.2: tag, pattern, possible first characters."""


class DocumentError(MessageBatchesError):
    """A document that cannot be read or followed, with the JSON pointer of the problem.

    Attributes:
        pointer: JSON pointer to the place, as the URI fragment `#/...`; `#` is the whole file.
        message: the error there and how to correct it.
        place: the file, with the line where it is known; empty before a file is known.
    """

    def __init__(self, pointer: str, message: str, place: str = "") -> None:
        super().__init__(
            escape_unprintable(": ".join(part for part in (place, pointer if pointer != "#" else "", message) if part))
        )
        self.pointer = pointer
        self.message = message
        self.place = place


@dataclass(frozen=True)
class Source:
    """A file's data with the line of each value."""

    path: Path
    data: JsonValue
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)

    def located(self, error: DocumentError) -> DocumentError:
        """Return the error with the file and the line of its pointer, or of the nearest value around it."""
        pointer = error.pointer
        while pointer not in self.lines and "/" in pointer:
            pointer = pointer.rpartition("/")[0]
        line = f":{self.lines[pointer]}" if pointer in self.lines else ""
        return DocumentError(error.pointer, error.message, f"{self.path}{line}")


def child(pointer: str, key: str | int) -> str:
    """Return the pointer to a member or an item of the value at `pointer`."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def read_source(
    path: Path,
    what: str = "an Arazzo document",
    form: str = "an Arazzo document is a mapping that begins with `arazzo: 1.0.1`",
) -> Source:
    """Read a YAML 1.2 (or JSON) file that is a mapping.

    Args:
        path: of the file.
        what: the kind of file that is expected, for messages.
        form: the form of such a file, for messages.

    Raises:
        DocumentError: it does not exist, or is not UTF-8, not YAML, too large, or ambiguous.
    """
    reader = _Reader()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DocumentError("#", f"is over {MAX_BYTES:,} bytes; {what} needs far less")
        text = content.decode("utf-8-sig")
        _check_brackets(text)
        node = yaml.compose(text, Loader=_CoreLoader)
        data = None if node is None else reader.value(node, "#", 0)
    except DocumentError as error:
        raise Source(path, None, reader.lines).located(error) from None
    except FileNotFoundError as error:
        raise DocumentError("#", f"is not there; give the path of {what}", str(path)) from error
    except OSError as error:
        raise DocumentError("#", f"cannot be read ({error.strerror})", str(path)) from error
    except UnicodeDecodeError as error:
        raise DocumentError("#", f"is not UTF-8 (byte {error.start}); save it as UTF-8", str(path)) from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError("#", f"is not YAML: {problem}", f"{path}{line}") from error
    except yaml.YAMLError as error:
        raise DocumentError("#", f"is not YAML: {' '.join(str(error).split())}", str(path)) from error
    except (ValueError, OverflowError) as error:
        # PyYAML raises it for an escape such as "\U00110000" or a version such as %YAML 1.99...9.
        raise DocumentError("#", "is not YAML: it holds a number or an escape beyond all bounds", str(path)) from error
    except RecursionError as error:
        raise DocumentError("#", f"is nested more than {MAX_DEPTH} deep", str(path)) from error
    if not isinstance(data, dict):
        found = {list: "a list", type(None): "empty"}.get(type(data), "a single value")
        raise DocumentError("#", f"is {found}; {form}", str(path))
    return Source(path, data, reader.lines)


def _check_brackets(text: str) -> None:
    """Refuse deep nesting before PyYAML parses it: its time grows with the square of open brackets."""
    steps = (1 if each in "[{" else -1 for each in text if each in "[]{}")
    # Brackets in texts and comments count here as well, so the bound is a generous one.
    if max(itertools.accumulate(steps), default=0) > 10 * MAX_DEPTH:
        raise DocumentError("#", f"is nested more than {MAX_DEPTH} deep")


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._values = 0

    def value(self, node: yaml.Node, pointer: str, depth: int) -> JsonValue:
        self.lines[pointer] = node.start_mark.line + 1
        self._values += 1
        if self._values > MAX_VALUES:
            raise DocumentError("#", f"holds more than {MAX_VALUES:,} values once its aliases are expanded")
        if depth > MAX_DEPTH:
            raise DocumentError("#", f"is nested more than {MAX_DEPTH} deep; an alias may contain itself")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return dict(self._members(node, pointer, depth))
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, child(pointer, index), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, pointer)
        raise DocumentError(pointer, f"has the YAML tag {node.tag}; only plain JSON data has a place here")

    def _members(self, node: yaml.MappingNode, pointer: str, depth: int) -> Iterator[tuple[str, JsonValue]]:
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                line = key.start_mark.line + 1
                raise DocumentError(pointer, f"has a key (line {line}) that is not a string; put it in quotes")
            name = _text(str(key.value), pointer)
            place = child(pointer, name)
            if name in seen:
                self.lines[place] = key.start_mark.line + 1
                raise DocumentError(place, "is given twice, and only one can count; delete the other")
            seen.add(name)
            yield name, self.value(value, place, depth + 1)
            self.lines[place] = key.start_mark.line + 1


class _CoreLoader(yaml.SafeLoader):
    """A loader with the plain scalars of YAML 1.2: PyYAML's 1.1 reads 2023-06-01 as a date, and 030 as twenty-four."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own shape)


for _tag, _pattern, _first in CORE_SCALARS:
    _CoreLoader.add_implicit_resolver(_tag, _pattern, _first)


def _scalar(node: yaml.ScalarNode, pointer: str) -> JsonValue:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str":
            return _text(text, pointer)
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int" | "float" as kind:
            return _number(text, kind, pointer)
    raise DocumentError(pointer, f"has the YAML tag {node.tag}; only plain JSON data has a place here")


def _text(text: str, pointer: str) -> str:
    """Return a string; JSON writes characters beyond 16 bits as two escapes, which YAML reads as two characters."""
    if not _SURROGATE.search(text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise DocumentError(pointer, "holds half of a surrogate pair, which is not text") from None


def _number(text: str, kind: str, pointer: str) -> int | float:
    try:
        if kind == "int":
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise DocumentError(pointer, "is not a number that can be read") from None
    if not math.isfinite(number):
        raise DocumentError(pointer, "must be a finite number")
    return number
