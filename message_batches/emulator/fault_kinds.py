"""The faults there are: at which moment of a call each strikes, where, and what can be said about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

OPERATIONS = ("create", "retrieve", "list", "results", "cancel", "delete")


class Stage(StrEnum):
    """The moments of a call, in order."""

    UNREAD = "unread"
    PACE = "pace"
    REFUSE = "refuse"
    CREATED = "created"
    REPLY = "reply"
    BODY = "body"
    LINES = "lines"


@dataclass(frozen=True)
class Kind:
    """One sort of fault; ``parameters`` maps each name to the type and the least value it may have."""

    stage: Stage
    operations: tuple[str, ...] = OPERATIONS
    parameters: Mapping[str, type] = field(default_factory=dict)


_RETRY: Mapping[str, type] = {"retry_after": float, "should_retry": bool}
_RESULTS = ("results",)

KINDS: Mapping[str, Kind] = {
    # The answer a proxy gives before it has read the body.
    "html-413": Kind(Stage.UNREAD),
    # ``late`` delays what the call does as well, not its answer alone.
    "slow": Kind(Stage.PACE, parameters={"seconds": float, "bytes_per_second": float, "late": bool}),
    "refuse-then-5xx": Kind(Stage.REFUSE, parameters={"status": int, **_RETRY}),
    "404": Kind(Stage.REFUSE, ("retrieve", "results", "cancel", "delete")),
    "429": Kind(Stage.REFUSE, parameters=_RETRY),
    "spend-limit": Kind(Stage.REFUSE, parameters={"should_retry": bool}),
    "500": Kind(Stage.REFUSE, parameters=_RETRY),
    "503": Kind(Stage.REFUSE, parameters=_RETRY),
    "529": Kind(Stage.REFUSE, parameters=_RETRY),
    # In real seconds: it stands for a replica that lags, whatever the virtual clock says.
    "invisible": Kind(Stage.CREATED, ("create",), {"seconds": float}),
    "accept-then-drop": Kind(Stage.REPLY),
    "accept-then-5xx": Kind(Stage.REPLY, parameters={"status": int, **_RETRY}),
    "cut": Kind(Stage.BODY, parameters={"at": int, "clean": bool}),
    "gzip": Kind(Stage.BODY),
    "no-content-type": Kind(Stage.BODY),
    "missing-line": Kind(Stage.LINES, _RESULTS, {"line": int}),
    "duplicate-line": Kind(Stage.LINES, _RESULTS, {"line": int}),
    "foreign-line": Kind(Stage.LINES, _RESULTS, {"line": int}),
    "u2028": Kind(Stage.LINES, _RESULTS, {"line": int}),
    "lone-surrogate": Kind(Stage.LINES, _RESULTS, {"line": int}),
}


_MOST = 1e9
"""Seconds, or bytes a second: no loop could be told to wait for infinity."""


def value_of(kind: type, name: str, value: object) -> float | int | bool:
    """Read a parameter, from JSON or from the command line; raise ValueError when it is none."""
    if isinstance(value, str):
        value = _from_text(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return float(value)
    wanted = {
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
