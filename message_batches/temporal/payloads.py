"""The values in a history's payloads; of those of an unexpected type, nothing."""

from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter

from message_batches.errors import MessageBatchesError


async def first_value(converter: DataConverter, payloads: Payloads) -> dict[str, Any]:
    """Return the first value, if it is an object; an error of the data converter passes through."""
    values = await converter.decode(payloads.payloads)
    return values[0] if values and isinstance(values[0], dict) else {}


async def given_value(converter: DataConverter, payloads: Payloads) -> dict[str, Any]:
    """Return the input that a caller gave; nothing if it cannot be read, since then the run could not do so either."""
    try:
        return await first_value(converter, payloads)
    except MessageBatchesError:
        raise  # Such as of one that is encrypted with a key that this process lacks.
    except Exception:
        return {}


def part(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object within an object; an empty one where there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def texts(*values: Any) -> tuple[str, ...]:
    """Return the values that are texts, without empty ones."""
    return tuple(value for value in values if isinstance(value, str) and value)


def time_in(value: Any) -> datetime | None:
    """Return the time that a text names, with its zone."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.astimezone(UTC) if time and time.tzinfo else None
    except (ValueError, OverflowError):
        return None
