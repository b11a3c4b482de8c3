"""Events for tests."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from message_batches.result_models import ResultCounts, ResultsFile
from message_batches.webhooks.events import MAX_IDS, Event, EventCost, EventData, EventType, Notification

RUN_ID = "0199a5d4-6a5e-7c1e-9f43-0d6a3c0a9e11"
WHEN = datetime(2026, 11, 28, 4, 12, tzinfo=UTC)


def an_event(kind: EventType = EventType.BATCH_LANDED, **data: Any) -> Event:
    whose = {"namespace": "default", "workflow_id": "run-1", "run_id": RUN_ID}
    return Event(type=kind, timestamp=WHEN, data=EventData(**(whose | data)))


def the_largest_event() -> Event:
    """Return an event with all fields, each as long as it may be; of what is free, longer than it will ever be."""
    ids = tuple(f"msgbatch_{number:0100}" for number in range(MAX_IDS))
    return an_event(
        workflow_id="&" * 1000,
        namespace="n" * 255,
        batch_id=ids[0],
        requests=10**9,
        reason="landing-failing",
        candidates=ids,
        outcome="unsuccessful",
        action="checkBatches",
        counts=ResultCounts(succeeded=10**9, errored=10**9, canceled=10**9, expired=10**9),
        usable=10**8,
        unfinished=10**9,
        cost=EventCost(currency="USD", amount=Decimal("123456789.123456789"), partial=True),
        results_file=ResultsFile(uri=f"s3://{'b/&' * 1500}", bytes=10**12, lines=10**9, sha256="0" * 64),
        verified=True,
        possibly_paid_twice=ids,
        shards=10_000,
        failed_shards=10_000,
    )


def notification(webhook: str = "ops", event: Event | None = None) -> Notification:
    return Notification(
        webhook=webhook, id=f"msg_{'0' * 32}", event=event or an_event(), retry_after=timedelta(seconds=5)
    )
