"""The form of what crosses a process boundary: the base model, durations, and how deep a payload may nest."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

Seconds = Annotated[timedelta, PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json")]


class Boundary(BaseModel):
    """What crosses a process boundary; an input is not repeated in an error, it may hold a key or a prompt."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        # As null, a number that JSON has not would be another request, sent and paid for; it arrives, and is refused.
        ser_json_inf_nan="constants",
    )


MAX_INLINE_DEPTH = 100
"""Levels that travel in a payload: its readers refuse 200, and it may be an item of what a caller makes of it."""


def nested_deeper(value: Any, levels: int) -> bool:
    """Whether arrays and objects stand in each other more than so many times."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    """What is directly in an array or an object; of an empty one, something all the same."""
    if isinstance(value, dict):
        return list(value.values()) or [None]
    if isinstance(value, list):
        return value or [None]
    return []
