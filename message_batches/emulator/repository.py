"""The batches that exist, by workspace: creating, finding, listing and deleting them."""

import random
import time
from collections.abc import Iterator, Sequence

from message_batches.emulator.batches import Batch, BatchRequest, OrderedOutcome, ProcessingPace, ProcessingStatus
from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.errors import ErrorReply, batch_not_found
from message_batches.emulator.identifiers import Identifiers
from message_batches.emulator.options import EmulatorOptions


class BatchRepository:
    """All batches of all workspaces, oldest first."""

    def __init__(self, options: EmulatorOptions, clock: VirtualClock, ids: Identifiers) -> None:
        self._options = options
        self._clock = clock
        self._ids = ids
        self._random = random.Random(ids.seed())
        self._unlucky = [OrderedOutcome(options.error_rate)] if options.error_rate else []
        self._batches: dict[str, Batch] = {}

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches.values())

    def create(
        self,
        workspace: str,
        requests: Sequence[BatchRequest],
        *,
        invisible: float = 0.0,
        ordered: Sequence[OrderedOutcome] = (),
    ) -> Batch:
        """Create a batch, invisible for `invisible` real seconds; raise 429 when the queue is full."""
        limit = self._options.queue_limit
        if limit and self._processing(workspace) + len(requests) > limit:
            message = f"This request would exceed the limit of {limit} batch requests in the processing queue."
            raise ErrorReply(429, message, retry_after=60)
        spread = 1 + self._options.jitter * self._random.uniform(-1, 1)
        pace = ProcessingPace(
            self._options.processing_time * spread, self._options.ends_after_polls, self._options.cancel_time
        )
        batch = Batch(
            id=self._ids.batch(),
            workspace=workspace,
            requests=requests,
            created_at=self._clock.now(),
            pace=pace,
            seed=self._ids.seed(),
            live_counts=self._options.live_counts,
            ordered=[*ordered, *self._unlucky],
            visible_from=time.monotonic() + invisible if invisible else 0.0,
        )
        self._batches[batch.id] = batch
        return batch

    def find(self, workspace: str, batch_id: str) -> Batch:
        """Return a batch of this workspace, or raise a 404."""
        batch = self._batches.get(batch_id)
        if batch is None or not self._is_seen(batch, workspace):
            raise batch_not_found(batch_id)
        return batch

    def delete(self, batch: Batch) -> None:
        """Remove a batch that has ended, or raise the error that refuses it."""
        status = batch.status(self._clock.now())
        allowed = status is ProcessingStatus.ENDED
        refusal = 400
        if status is ProcessingStatus.CANCELING:
            refusal = self._options.undocumented.delete_while_canceling
            allowed = refusal == 200
        if not allowed:
            message = "In progress batches cannot be deleted. Consider canceling the batch instead."
            raise ErrorReply(refusal, message)
        del self._batches[batch.id]

    def cancel(self, batch: Batch) -> None:
        """Stop a batch, or raise the error that refuses it."""
        now = self._clock.now()
        match batch.status(now):
            case ProcessingStatus.IN_PROGRESS:
                batch.cancel(now)
            case ProcessingStatus.CANCELING:
                self._refuse(self._options.undocumented.cancel_twice, f"Batch {batch.id} is already being canceled.")
            case ProcessingStatus.ENDED:
                message = f"Batch {batch.id} cannot be canceled because it has already finished processing."
                self._refuse(self._options.undocumented.cancel_after_ended, message)

    def newest_first(self, workspace: str) -> list[Batch]:
        """Return the batches of a workspace that can be seen."""
        return [batch for batch in reversed(self._batches.values()) if self._is_seen(batch, workspace)]

    def _processing(self, workspace: str) -> int:
        now = self._clock.now()
        mine = (batch for batch in self._batches.values() if batch.workspace == workspace)
        return sum(len(batch) for batch in mine if batch.status(now) is not ProcessingStatus.ENDED)

    @staticmethod
    def _is_seen(batch: Batch, workspace: str) -> bool:
        return batch.workspace == workspace and batch.visible_from <= time.monotonic()

    @staticmethod
    def _refuse(status: int, message: str) -> None:
        if status != 200:
            raise ErrorReply(status, message)
