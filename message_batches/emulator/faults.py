"""Faults: their kinds with stage, operations and parameters, and the faults in force."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

OPERATIONS = ("create", "retrieve", "list", "results", "cancel", "delete", "models")
_OF_A_BATCH = ("create", "retrieve", "list", "cancel")


class FaultStage(StrEnum):
    """The moments of a call, in order."""

    UNREAD = "unread"
    PACE = "pace"
    ARRIVED = "arrived"
    REFUSE = "refuse"
    CREATED = "created"
    OUTCOMES = "outcomes"
    OBJECT = "object"
    REPLY = "reply"
    BODY = "body"
    LINES = "lines"


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault; `parameters` maps each name to its type, and those in `required` must be given."""

    stage: FaultStage
    operations: tuple[str, ...] = OPERATIONS
    parameters: Mapping[str, type] = field(default_factory=dict)
    required: tuple[str, ...] = ()


_RETRY: Mapping[str, type] = {"retry_after": float, "should_retry": bool}
_RESULTS = ("results",)

FAULT_KINDS: Mapping[str, FaultKind] = {
    # A proxy's response before it has read the body.
    "html-413": FaultKind(FaultStage.UNREAD),
    # `late` delays the effect of the call as well, not its response alone.
    "slow": FaultKind(FaultStage.PACE, parameters={"seconds": float, "bytes_per_second": float, "late": bool}),
    # Another program on the same key creates a batch of the same ids, or of its own; `seconds` later, in real ones.
    "foreign-batch": FaultKind(
        FaultStage.ARRIVED, ("create",), {"seconds": float, "model": str, "max_tokens": int, "prefix": str}
    ),
    "refuse-then-5xx": FaultKind(FaultStage.REFUSE, parameters={"status": int, **_RETRY}),
    # Any error, as the API writes it or as a page of a gateway; with `creates_after` the API is still at work, and
    # creates the batch so many (real) seconds after the answer.
    "error": FaultKind(
        FaultStage.REFUSE,
        parameters={
            "status": int,
            "type": str,
            "message": str,
            "error_code": str,
            "html": bool,
            "creates_after": float,
            **_RETRY,
        },
        required=("status",),
    ),
    "404": FaultKind(FaultStage.REFUSE, ("retrieve", "results", "cancel", "delete")),
    "429": FaultKind(FaultStage.REFUSE, parameters=_RETRY),
    "spend-limit": FaultKind(FaultStage.REFUSE, parameters={"should_retry": bool}),
    "500": FaultKind(FaultStage.REFUSE, parameters=_RETRY),
    "503": FaultKind(FaultStage.REFUSE, parameters=_RETRY),
    "529": FaultKind(FaultStage.REFUSE, parameters=_RETRY),
    # In real seconds: it simulates a replica that lags, independent of the virtual clock.
    "invisible": FaultKind(FaultStage.CREATED, ("create",), {"seconds": float}),
    # What becomes of the requests of a batch: each is struck with the chance `share`, or the one of a custom_id.
    "outcome": FaultKind(
        FaultStage.OUTCOMES,
        ("create",),
        {
            "type": str,
            "error": str,
            "message": str,
            "stop_reason": str,
            "blocks": int,
            "share": float,
            "custom_id": str,
        },
    ),
    # A field of a batch as the answers show it: `value` is any JSON, null if it is not given.
    "field": FaultKind(
        FaultStage.OBJECT, _OF_A_BATCH, {"field": str, "value": object, "absent": bool}, required=("field",)
    ),
    "accept-then-drop": FaultKind(FaultStage.REPLY),
    "accept-then-5xx": FaultKind(FaultStage.REPLY, parameters={"status": int, **_RETRY}),
    "cut": FaultKind(FaultStage.BODY, parameters={"at": int, "clean": bool}),
    "gzip": FaultKind(FaultStage.BODY),
    "no-content-type": FaultKind(FaultStage.BODY),
    "missing-line": FaultKind(FaultStage.LINES, _RESULTS, {"line": int}),
    "duplicate-line": FaultKind(FaultStage.LINES, _RESULTS, {"line": int}),
    "foreign-line": FaultKind(FaultStage.LINES, _RESULTS, {"line": int}),
    "u2028": FaultKind(FaultStage.LINES, _RESULTS, {"line": int}),
    "lone-surrogate": FaultKind(FaultStage.LINES, _RESULTS, {"line": int}),
    # Bytes in hexadecimal: into the text of a line, or where the results have so many bytes.
    "insert": FaultKind(FaultStage.LINES, _RESULTS, {"hex": str, "line": int, "at": int}, required=("hex",)),
}


_MOST = 1e9
"""Most seconds, or bytes a second: no loop can wait for infinity."""


def read_parameter(kind: type, name: str, value: object) -> object:
    """Read a parameter, from JSON or from the command line; raise ValueError if it is not valid."""
    if kind is object:
        return value
    if kind is str and isinstance(value, str) and value:
        return value
    if isinstance(value, str) and kind is not str:
        value = _from_text(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return float(value)
    wanted = {
        str: "a text",
        bool: "true or false",
        int: "a whole number of at least 0",
        float: "a number of at least 0, and at most 1e9",
    }[kind]
    raise ValueError(f"{name} is {wanted}")


def _from_text(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(slots=True)
class Fault:
    """One fault in force: for its `times`, or with its `probability`, or until it is cleared."""

    name: str
    operation: str = "*"
    remaining: int | None = None
    probability: float | None = None
    parameters: dict[str, object] = field(default_factory=dict)
    applied: int = 0

    def number(self, name: str) -> float | None:
        """Return a parameter that is a number, or None if it was not given."""
        value = self.parameters.get(name)
        return value if isinstance(value, int | float) else None

    def text(self, name: str) -> str | None:
        """Return a parameter that is a text, or None if it was not given."""
        value = self.parameters.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool | None:
        """Return a parameter that is true or false, or None if it was not given."""
        value = self.parameters.get(name)
        return None if value is None else bool(value)

    def as_json(self) -> dict[str, object]:
        """Return the fault as `GET /_emulator/faults` shows it."""
        return {
            "fault": self.name,
            "operation": self.operation,
            "times": self.remaining,
            "probability": self.probability,
            **self.parameters,
            "applied": self.applied,
        }


class Faults:
    """All faults in force, in the order they were added."""

    def __init__(self, seed: int) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def add(
        self,
        fault: str,
        *,
        operation: str = "*",
        times: int | None = None,
        probability: float | None = None,
        **parameters: object,
    ) -> Fault:
        """Put a fault in force; raise ValueError with the known kinds if there is no such fault."""
        said = {"fault": fault, "operation": operation, "times": times, "probability": probability, **parameters}
        return self.add_described(said)

    def add_described(self, described: Mapping[str, object]) -> Fault:
        """Put a fault in force from its JSON form."""
        fault = read_fault(described)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take(self, operation: str, stage: FaultStage) -> Fault | None:
        """Return the first fault that applies to this call at this stage; it counts as applied."""
        return next(self._striking(operation, stage), None)

    def take_all(self, operation: str, stage: FaultStage) -> list[Fault]:
        """Return every fault that applies to this call at this stage; they count as applied."""
        return list(self._striking(operation, stage))

    def _striking(self, operation: str, stage: FaultStage) -> Iterator[Fault]:
        for fault in self._faults:
            kind = FAULT_KINDS[fault.name]
            if kind.stage is not stage or operation not in kind.operations:
                continue
            if fault.operation not in ("*", operation) or fault.remaining == 0:
                continue
            if fault.probability is not None and self._random.random() >= fault.probability:
                continue
            if fault.remaining is not None:
                fault.remaining -= 1
            fault.applied += 1
            yield fault


def read_fault(described: Mapping[str, object]) -> Fault:
    """Check a fault's JSON form; raise ValueError with the known kinds and parameters if it is not valid."""
    given = {name: value for name, value in described.items() if value is not None}
    name = given.pop("fault", None)
    if not isinstance(name, str) or name not in FAULT_KINDS:
        raise ValueError(f"fault is one of {', '.join(FAULT_KINDS)}")
    kind = FAULT_KINDS[name]
    operation = given.pop("operation", "*")
    if operation != "*" and operation not in kind.operations:
        raise ValueError(f"the operation of {name} is one of {', '.join((*kind.operations, '*'))}")
    fault = Fault(name, str(operation))
    if "times" in given:
        fault.remaining = _number(int, "times", given.pop("times"))
    if "probability" in given:
        fault.probability = _number(float, "probability", given.pop("probability"))
        if fault.probability > 1:
            raise ValueError("probability is between 0 and 1")
    for parameter, value in given.items():
        if parameter not in kind.parameters:
            exist = ", ".join(("operation", "times", "probability", *kind.parameters))
            raise ValueError(f"{name} knows no {parameter!r}; its parameters are {exist}")
        fault.parameters[parameter] = read_parameter(kind.parameters[parameter], parameter, value)
    for parameter in kind.required:
        if parameter not in fault.parameters:
            raise ValueError(f"{name} needs {parameter}")
    least = 400 if name == "error" else 500
    if not least <= (fault.number("status") or 500) <= 599:
        raise ValueError(f"status is between {least} and 599")
    if (fault.number("share") or 0) > 1:
        raise ValueError("share is between 0 and 1")
    try:
        bytes.fromhex(fault.text("hex") or "")
    except ValueError:
        raise ValueError("hex is bytes such as fffe") from None
    return fault


_N = TypeVar("_N", int, float)


def _number(kind: type[_N], name: str, value: object) -> _N:
    number = read_parameter(kind, name, value)
    assert isinstance(number, int | float)
    return kind(number)


def read_fault_flag(text: str) -> dict[str, object]:
    """Convert `accept-then-drop:operation=create,times=1` to a fault's JSON form; JSON is taken as it is."""
    if text.lstrip().startswith("{"):
        try:
            given: dict[str, object] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{text[:80]!r} is not valid JSON: {error}") from error
        read_fault(given)
        return given
    name, _, rest = text.partition(":")
    described: dict[str, object] = {"fault": name}
    for part in filter(None, rest.split(",")):
        parameter, equals, value = part.partition("=")
        if not equals or parameter == "fault":
            raise ValueError(f"{part!r} in {text!r} is not of the form name=value")
        described[parameter] = _json_or_text(value) if parameter == "value" else value
    read_fault(described)
    return described


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
