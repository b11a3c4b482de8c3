"""The kinds of faults: the stage at which each strikes, its operations and its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

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
            "category": str,
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
