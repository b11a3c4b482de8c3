"""The faults in force: added by flags, over HTTP or in process, and used up by the calls that meet them."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from message_batches.emulator.fault_kinds import KINDS, Stage, value_of


@dataclass(slots=True)
class Fault:
    """One fault in force: for its ``times``, or with its ``probability``, or until it is cleared."""

    name: str
    operation: str = "*"
    remaining: int | None = None
    probability: float | None = None
    parameters: dict[str, float | int | bool] = field(default_factory=dict)
    applied: int = 0

    def number(self, name: str) -> float | None:
        """A parameter that is a number, or None when it was not given."""
        return self.parameters.get(name)

    def flag(self, name: str) -> bool | None:
        """A parameter that is true or false, or None when it was not given."""
        value = self.parameters.get(name)
        return None if value is None else bool(value)

    def as_json(self) -> dict[str, object]:
        """The fault as ``GET /_emulator/faults`` shows it."""
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
        **parameters: float | int | bool,
    ) -> Fault:
        """Put a fault in force; raise ValueError, saying what there is, when there is no such fault."""
        said = {"fault": fault, "operation": operation, "times": times, "probability": probability, **parameters}
        return self.add_described(said)

    def add_described(self, described: Mapping[str, object]) -> Fault:
        """Put a fault in force from its JSON form."""
        fault = read_fault(described)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """End them all."""
        self._faults.clear()

    def take(self, operation: str, stage: Stage) -> Fault | None:
        """The first fault that strikes here and now; it counts as applied."""
        return next(self._striking(operation, stage), None)

    def take_all(self, operation: str, stage: Stage) -> list[Fault]:
        """Every fault that strikes here and now; they count as applied."""
        return list(self._striking(operation, stage))

    def _striking(self, operation: str, stage: Stage) -> Iterator[Fault]:
        for fault in self._faults:
            kind = KINDS[fault.name]
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
    """Check a fault's JSON form; raise ValueError that lists what exists when it is not one."""
    given = {name: value for name, value in described.items() if value is not None}
    name = given.pop("fault", None)
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"fault is one of {', '.join(KINDS)}")
    kind = KINDS[name]
    operation = given.pop("operation", "*")
    if operation != "*" and operation not in kind.operations:
        raise ValueError(f"the operation of {name} is one of {', '.join((*kind.operations, '*'))}")
    fault = Fault(name, str(operation))
    if "times" in given:
        fault.remaining = int(value_of(int, "times", given.pop("times")))
    if "probability" in given:
        fault.probability = float(value_of(float, "probability", given.pop("probability")))
        if fault.probability > 1:
            raise ValueError("probability is between 0 and 1")
    for parameter, value in given.items():
        if parameter not in kind.parameters:
            exist = ", ".join(("operation", "times", "probability", *kind.parameters))
            raise ValueError(f"{name} knows no {parameter!r}; its parameters are {exist}")
        fault.parameters[parameter] = value_of(kind.parameters[parameter], parameter, value)
    if not 500 <= fault.parameters.get("status", 500) <= 599:
        raise ValueError("status is between 500 and 599")
    return fault


def read_fault_flag(text: str) -> dict[str, object]:
    """Turn ``accept-then-drop:operation=create,times=1`` into a fault's JSON form."""
    name, _, rest = text.partition(":")
    described: dict[str, object] = {"fault": name}
    for part in filter(None, rest.split(",")):
        parameter, equals, value = part.partition("=")
        if not equals or parameter == "fault":
            raise ValueError(f"{part!r} in {text!r} is not of the form name=value")
        described[parameter] = value
    read_fault(described)
    return described
