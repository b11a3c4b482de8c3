"""The requests of a batch that have no reply: those that are worth sending again, and those to be corrected first."""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field

import msgspec

from message_batches.error_causes import ErrorCause, cause_of
from message_batches.results.parser import ResultLine, read_result


@dataclass
class FailedRequests:
    """The custom_ids without a reply: expired, canceled or errored.

    Attributes:
        retryable: worth sending again as they are.
        invalid: to be corrected first.
    """

    retryable: set[str] = field(default_factory=set)
    invalid: set[str] = field(default_factory=set)

    def add(self, result: ResultLine) -> None:
        """Add a result, unless it succeeded."""
        if result.type == "succeeded":
            return
        to_correct = result.error and cause_of(*result.error, result.error_code) is ErrorCause.REQUEST
        (self.invalid if to_correct else self.retryable).add(result.custom_id)


async def failed_requests(results: AsyncIterable[bytes]) -> FailedRequests:
    """Sort out the requests without a reply from the lines of a results file."""
    failed = FailedRequests()
    async for line in results:
        if line.strip():
            failed.add(read_result(line, landed=True))
    return failed


class _Request(msgspec.Struct):
    custom_id: str


_decode = msgspec.json.Decoder(_Request).decode


async def requests_of(manifest: AsyncIterable[bytes], ids: set[str]) -> AsyncIterator[bytes]:
    """Yield the lines of a manifest for these custom_ids, byte for byte."""
    async for line in manifest:
        if line and _decode(line).custom_id in ids:
            yield line + b"\n"
