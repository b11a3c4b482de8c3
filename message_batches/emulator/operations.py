"""The six operations of the API, for authenticated calls."""

from message_batches.emulator.batches import Batch, ProcessingStatus
from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.errors import invalid, no_results
from message_batches.emulator.exchange import Exchange, Reply
from message_batches.emulator.faults import Faults, FaultStage
from message_batches.emulator.options import EmulatorOptions
from message_batches.emulator.repository import BatchRepository
from message_batches.emulator.results import chunks

_PAGE, _MOST = 20, 1_000


class Operations:
    """The operations by name; each turns a call into a response."""

    def __init__(
        self, options: EmulatorOptions, repository: BatchRepository, clock: VirtualClock, faults: Faults
    ) -> None:
        self._options = options
        self._repository = repository
        self._clock = clock
        self._faults = faults

    def perform(self, exchange: Exchange) -> Reply:
        """Perform the operation of a call, or raise the error that refuses it."""
        match exchange.operation:
            case "create":
                return self._create(exchange)
            case "retrieve":
                return self._retrieve(exchange)
            case "list":
                return self._list(exchange)
            case "results":
                return self._results(exchange)
            case "cancel":
                return self._cancel(exchange)
            case _:
                return self._delete(exchange)

    def _create(self, exchange: Exchange) -> Reply:
        lag = self._faults.take("create", FaultStage.CREATED)
        seconds = lag.parameters.get("seconds", 1.0) if lag else 0.0
        batch = self._repository.create(exchange.workspace, exchange.requests, invisible=seconds)
        exchange.call.batch_id = batch.id
        if lag:
            exchange.call.faults.append(lag.name)
        # As it was created, even if it is so quick that it has ended by now.
        return Reply.ok(batch.as_json(batch.created_at, self._results_url(exchange, batch)))

    def _retrieve(self, exchange: Exchange) -> Reply:
        batch = self._find(exchange)
        now = self._clock.now()
        batch.poll(now)
        hint = {} if batch.status(now) is ProcessingStatus.ENDED else {"retry-after": "10"}
        return Reply.ok(batch.as_json(now, self._results_url(exchange, batch)), hint)

    def _list(self, exchange: Exchange) -> Reply:
        query = exchange.request.query
        batches, has_more = self._repository.page(
            exchange.workspace,
            limit=self._limit(query.get("limit")),
            after_id=query.get("after_id"),
            before_id=query.get("before_id"),
        )
        now = self._clock.now()
        page: dict[str, object] = {
            "data": [batch.as_json(now, self._results_url(exchange, batch)) for batch in batches],
            "has_more": has_more,
            "first_id": batches[0].id if batches else None,
            "last_id": batches[-1].id if batches else None,
        }
        return Reply.ok(page)

    def _results(self, exchange: Exchange) -> Reply:
        batch = self._find(exchange)
        now = self._clock.now()
        end = batch.end(now)
        if end is None:
            raise no_results(batch.id)
        if batch.archived_at(now):
            raise no_results(batch.id, self._options.undocumented.results_archived)
        damage = self._faults.take_all("results", FaultStage.LINES)
        exchange.call.faults.extend(fault.name for fault in damage)
        body = chunks(batch, end, self._options.reply_bytes, damage)
        return Reply(200, body, content_type="application/x-jsonl")

    def _cancel(self, exchange: Exchange) -> Reply:
        batch = self._find(exchange)
        self._repository.cancel(batch)
        return Reply.ok(batch.as_json(self._clock.now(), self._results_url(exchange, batch)))

    def _delete(self, exchange: Exchange) -> Reply:
        batch = self._find(exchange)
        self._repository.delete(batch)
        return Reply.ok({"id": batch.id, "type": "message_batch_deleted"})

    def _find(self, exchange: Exchange) -> Batch:
        return self._repository.find(exchange.workspace, exchange.batch_id)

    def _limit(self, given: str | None) -> int:
        if given is None:
            return _PAGE
        try:
            limit = int(given)
        except ValueError:
            raise invalid("limit: Input should be a valid integer, unable to parse string as an integer") from None
        if not 1 <= limit <= _MOST and self._options.undocumented.limit_out_of_range != 200:
            bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {_MOST}"
            raise invalid(f"limit: Input should be {bound}")
        return min(max(limit, 1), _MOST)

    def _results_url(self, exchange: Exchange, batch: Batch) -> str:
        request = exchange.request
        base = self._options.public_url
        if base is None:
            scheme = request.headers.get("x-forwarded-proto", request.scheme)
            base = f"{scheme}://{request.headers.get('x-forwarded-host', request.host)}"
        return f"{base.rstrip('/')}/v1/messages/batches/{batch.id}/results"
