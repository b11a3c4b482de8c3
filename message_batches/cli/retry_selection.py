"""Which requests of a batch are worth sending again, and which have to be corrected first."""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field

import msgspec

from message_batches.result_lines import Result, read_result

TO_BE_CORRECTED = frozenset({"invalid_request_error", "not_found_error", "request_too_large"})
"""Errors that the same request gets again; any other one may pass by itself, as the API's reference says."""


class _Request(msgspec.Struct):
    custom_id: str


_decode = msgspec.json.Decoder(_Request).decode


@dataclass
class Selection:
    """The custom_ids without a reply: expired, canceled or errored.

    Attributes:
        again: worth sending as they are.
        invalid: to be corrected first.
    """

    again: set[str] = field(default_factory=set)
    invalid: set[str] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Sort a result in."""
        if result.type == "succeeded":
            return
        kind = result.error[0] if result.error else None
        (self.invalid if kind in TO_BE_CORRECTED else self.again).add(result.custom_id)


async def select(results: AsyncIterable[bytes]) -> Selection:
    """Sort the lines of a results file."""
    selection = Selection()
    async for line in results:
        if line.strip():
            selection.add(read_result(line))
    return selection


async def requests_of(manifest: AsyncIterable[bytes], ids: set[str]) -> AsyncIterator[bytes]:
    """The lines of the manifest for these custom_ids, byte for byte."""
    async for line in manifest:
        if line and _decode(line).custom_id in ids:
            yield line + b"\n"
