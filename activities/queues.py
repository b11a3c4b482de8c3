"""The activities of a worker by their task queue: of the runs, of single calls of the API, of whole results."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from activities.batch import MessageBatchActivities
from activities.jobs import JobActivities
from activities.notifications import NotificationActivities
from activities.requests import RequestsActivities
from activities.shards import ShardActivities
from activities.submission import SubmissionActivities
from message_batches.api.interface import BatchApi
from message_batches.prices import PriceList
from message_batches.storage.interface import Store
from message_batches.webhooks.interface import NoWebhooks, Webhooks


class WorkerActivities:
    """All activities of a worker, over an API and a store.

    Attributes:
        of_runs: those on the task queue of the runs and the jobs.
        of_calls: those of them that each make a call of the API, besides polls. On the queue of the runs they are for
            what a version that knew no other has scheduled.
        of_landings: those that read whole results, or whole waves of them; a worker does one at a time.
    """

    def __init__(
        self,
        api: BatchApi,
        store: Store,
        *,
        scratch: Path | None = None,
        prices: PriceList | None = None,
        max_cost: Decimal | None = None,
        webhooks: Webhooks | None = None,
    ) -> None:
        webhooks = webhooks or NoWebhooks()
        checks: Any = {"scratch": scratch, "prices": prices, "max_cost": max_cost, "webhooks": webhooks}
        steps = MessageBatchActivities(api, store, **checks)
        submission = SubmissionActivities(api, store)
        waves = JobActivities(api, store, turns=steps.large_checks, **checks)
        shards = ShardActivities(api, store, prices=prices)
        self.of_runs: Sequence[Callable[..., Any]] = (
            RequestsActivities(store).find_requests,
            steps.prepare_requests,
            steps.submit_batch,
            steps.poll_batch_status,
            steps.cancel_batch,
            submission.find_anchor,
            submission.find_candidates,
            submission.find_batch_to_adopt,
            submission.record_outcome,
            # The first wave: requests are checked one file at a time, as those of runs.
            waves.plan_wave,
            shards.read_shards,
            shards.stop_shards,
            shards.cancel_shards,
            NotificationActivities(webhooks).deliver_notification,
        )
        self.of_calls: Sequence[Callable[..., Any]] = (
            steps.submit_batch,
            steps.cancel_batch,
            submission.find_anchor,
            submission.find_candidates,
            submission.find_batch_to_adopt,
        )
        self.of_landings: Sequence[Callable[..., Any]] = (
            steps.retrieve_results,
            steps.delete_batch,
            submission.verify_candidate,
            # A later wave: the results of all earlier ones are read.
            waves.plan_wave,
            shards.merge_results,
        )
