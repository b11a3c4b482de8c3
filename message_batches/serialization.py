"""Serialization of data that crosses a process boundary: the base model, durations, and the nesting limit."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

Seconds = Annotated[timedelta, PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json")]


SEVERAL_ARGUMENTS = b"message-batches/several-arguments"
"""The encoding of the placeholder for several arguments, where one is expected."""


class ContractModel(BaseModel):
    """A model that crosses a process boundary; its errors do not repeat the input, which may hold a key or a prompt."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        # NaN is kept, and refused later: as null it would be a different request, sent and paid for.
        ser_json_inf_nan="constants",
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; pydantic by itself drops a name that is not a field in silence."""
        if unknown := set(update or ()) - set(type(self).model_fields):
            raise AttributeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        return super().model_copy(update=update, deep=deep)


MAX_INLINE_DEPTH = 100
"""The most levels in a payload: its readers refuse 200, and a caller may put it inside another value."""


def nested_deeper_than(value: Any, levels: int) -> bool:
    """Return whether arrays and objects are nested more than so many levels deep."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _children(outer)]
        if not layer:
            return False
    return True


def _children(value: Any) -> list[Any]:
    """Return the values in an array or object; one placeholder for an empty one, since it is a level too."""
    if isinstance(value, dict):
        return list(value.values()) or [None]
    if isinstance(value, list):
        return value or [None]
    return []
