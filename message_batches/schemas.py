"""Schemas of JSON: a value is compared with one in a bounded time.

A schema, and the regular expressions in it, may be such that a comparison never ends. References to other documents are
never followed.
"""

import gc
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cache, lru_cache
from itertools import islice
from typing import Any, NamedTuple, TypeVar

SECONDS = 2.0
"""Of processor time: for the check of a schema, and for each comparison with it."""
MAX_SCHEMAS = 64
"""Compiled schemas that are kept: most batches have one."""
MAX_FAULTS = 100
"""Faults of one value that are looked for."""
MAX_TEXT = 200


class Fault(NamedTuple):
    """A way in which an answer does not match its schema."""

    path: str
    rule: str
    message: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The group that it is counted in: other messages may repeat parts of the answer."""
        return self.path, self.rule, self.message if self.rule == "required" else ""


class Unchecked(Exception):
    """An answer, or a schema, that cannot be compared; the message is the reason."""


_Result = TypeVar("_Result")


class _TookTooLong(BaseException):
    """Raised by the signal; not an `Exception`, which a library might handle."""


def within(seconds: float, work: Callable[[], _Result]) -> _Result | None:
    """Return the result of `work`; None if it needs more processor time.

    A signal ends it, in the main thread, which a regular expression looks for on its way as well.
    """

    def stop(*_: object) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            return work()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TookTooLong:
        return None
    finally:
        signal.signal(signal.SIGVTALRM, before)


class Schema:
    """A compiled schema.

    Attributes:
        problem: why it cannot be used; empty if it can.
        slow: the number of comparisons that took too long.
    """

    def __init__(self, written: bytes) -> None:
        self.problem = ""
        self.slow = 0
        # Imported where it is used: it takes a fifth of a second.
        import jsonschema
        from referencing import Registry

        def compile_it() -> Any:
            schema = json.loads(written)
            kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
            kind.check_schema(schema)
            # The library's own registry would fetch what it does not have.
            return _in_decimals(kind)(schema, registry=Registry())

        self._validator: Any = None
        try:
            self._validator = within(SECONDS, compile_it)
            if self._validator is None:
                self.problem = f"the check of the schema took more than {SECONDS:g} s"
        except Exception as error:
            self.problem = f"the schema cannot be used: {_first_line(error)}"

    def faults(self, value: Any) -> list[Fault]:
        """Return the first ways in which a value does not match; `Unchecked` if that cannot be told."""
        if self.problem:
            raise Unchecked(self.problem)
        try:
            found = within(SECONDS, lambda: list(islice(self._validator.iter_errors(value), MAX_FAULTS)))
        except RecursionError:
            raise Unchecked("the schema, or the answer, is nested too deeply") from None
        except Exception as error:
            # What a schema names can be anything: a document elsewhere, a type that there is not.
            raise Unchecked(f"the schema cannot be used: {_first_line(error)}") from error
        if found is None:
            self.slow += 1
            # What it had found refers to itself, and may be a hundred megabytes.
            gc.collect()
            raise Unchecked(f"the comparison took more than {SECONDS:g} s")
        # A schema that is `false` has no keyword.
        return [
            Fault(_path(each.absolute_path), str(each.validator or "false"), _short(str(each.message)))
            for each in found
        ]


compiled = lru_cache(MAX_SCHEMAS)(Schema)
"""Compiles a schema, unless the same one was compiled just before."""


@cache
def _in_decimals(kind: Any) -> Any:
    """Return a dialect in which 19.99 is a multiple of 0.01: the library divides in binary, where it is none."""
    from jsonschema import ValidationError, validators

    def multiple_of(validator: Any, divisor: float, value: Any, _: Any) -> Iterator[ValidationError]:
        if validator.is_type(value, "number") and Fraction(str(value)) % Fraction(str(divisor)):
            yield ValidationError(f"{value!r} is not a multiple of {divisor}")

    extend: Any = validators.extend  # It has no types.
    return extend(kind, {"multipleOf": multiple_of})


def _path(steps: Any) -> str:
    path = "$"
    for step in islice(steps, 50):
        plain = isinstance(step, str) and step.isidentifier()
        path += "[*]" if isinstance(step, int) else f".{step}" if plain else f"[{json.dumps(step, ensure_ascii=False)}]"
    return _short(path)


def _short(text: str) -> str:
    """Return the beginning of a text, in which half a surrogate pair becomes a question mark."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _first_line(error: Exception) -> str:
    lines: list[str] = []
    with suppress(Exception):
        lines = str(error).splitlines()
    return _short((lines or [type(error).__name__])[0])
