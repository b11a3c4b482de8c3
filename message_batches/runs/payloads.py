"""The values in a history's payloads."""

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
