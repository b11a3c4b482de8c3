"""The operations of the API on batches and models, for authenticated calls."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from message_batches.emulator.batches import Batch, ProcessingStatus
from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.errors import no_results
from message_batches.emulator.exchange import Exchange, Reply
from message_batches.emulator.fault_effects import edited, of_another_writer, outcome_of
from message_batches.emulator.fault_kinds import FaultStage
from message_batches.emulator.faults import Fault, Faults
from message_batches.emulator.model_list import ModelList, model_as_json
from message_batches.emulator.options import EmulatorOptions
from message_batches.emulator.paging import page
from message_batches.emulator.repository import BatchRepository
from message_batches.emulator.results import chunks


class Operations:
    """The operations by name; each turns a call into a response."""

    def __init__(
        self,
        options: EmulatorOptions,
        repository: BatchRepository,
        clock: VirtualClock,
        faults: Faults,
        models: ModelList,
    ) -> None:
        self._options = options
        self._repository = repository
        self._clock = clock
        self._faults = faults
        self._models = models

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
            case "count_tokens":
                return Reply.ok({"input_tokens": exchange.input_tokens})
            case "models":
                return self._models_of(exchange)
            case _:
                return self._delete(exchange)

    def create_later(self, exchange: Exchange, seconds: float) -> None:
        """Create the batch of a call some real seconds after it has been answered."""
        asyncio.get_running_loop().call_later(seconds, self._create, exchange)

    def create_another(self, exchange: Exchange, fault: Fault) -> None:
        """Create a batch as another program does on the same key, at once or some real seconds later."""
        requests = of_another_writer(fault, exchange.requests)
        seconds = fault.number("seconds") or 0.0
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._repository.create, exchange.workspace, requests)
        else:
            self._repository.create(exchange.workspace, requests)

    def _create(self, exchange: Exchange) -> Reply:
        lag = self._faults.take("create", FaultStage.CREATED)
        seconds = lag.number("seconds") if lag else 0.0
        orders = self._faults.take_all("create", FaultStage.OUTCOMES)
        batch = self._repository.create(
            exchange.workspace,
            exchange.requests,
            invisible=1.0 if seconds is None else seconds,
            ordered=[outcome_of(fault) for fault in orders],
        )
        exchange.call.batch_id = batch.id
        exchange.call.faults.extend(fault.name for fault in ([lag] if lag else []) + orders)
        # As it was created, even if it is so quick that it has ended by now.
        return Reply.ok(self._shown(exchange, batch, batch.created_at))

    def _retrieve(self, exchange: Exchange) -> Reply:
        batch = self._find(exchange)
        now = self._clock.now()
        batch.poll(now)
        hint = {} if batch.status(now) is ProcessingStatus.ENDED else {"retry-after": "10"}
        return Reply.ok(self._shown(exchange, batch, now), hint)

    def _list(self, exchange: Exchange) -> Reply:
        batches, rest = page(
            self._repository.newest_first(exchange.workspace),
            lambda batch: batch.id,
            exchange.request.query,
            self._options.undocumented,
            kind="Message Batch",
        )
        now = self._clock.now()
        for batch in batches:
            batch.poll(now)
        faults = self._edits(exchange)
        return Reply.ok({"data": [self._shown(exchange, batch, now, faults) for batch in batches], **rest})

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
        return Reply.ok(self._shown(exchange, batch, self._clock.now()))

    def _delete(self, exchange: Exchange) -> Reply:
        batch = self._find(exchange)
        self._repository.delete(batch)
        return Reply.ok({"id": batch.id, "type": "message_batch_deleted"})

    def _find(self, exchange: Exchange) -> Batch:
        return self._repository.find(exchange.workspace, exchange.batch_id)

    def _models_of(self, exchange: Exchange) -> Reply:
        name = exchange.request.match_info.get("model_id")
        if name is not None:
            return Reply.ok(model_as_json(self._models.find(name)))
        query = exchange.request.query
        asked = [*query.getall("lifecycle", []), *query.getall("lifecycle[]", [])]
        listed = self._models.of_lifecycles(stage for text in asked for stage in text.split(","))
        models, rest = page(listed, lambda model: model.id, query, self._options.undocumented, kind="Model")
        return Reply.ok({"data": [model_as_json(model) for model in models], **rest})

    def _shown(
        self, exchange: Exchange, batch: Batch, now: datetime, faults: Sequence[Fault] | None = None
    ) -> dict[str, object]:
        faults = self._edits(exchange) if faults is None else faults
        return edited(batch.as_json(now, self._results_url(exchange, batch)), faults)

    def _edits(self, exchange: Exchange) -> list[Fault]:
        faults = self._faults.take_all(exchange.operation, FaultStage.OBJECT)
        exchange.call.faults.extend(fault.name for fault in faults)
        return faults

    def _results_url(self, exchange: Exchange, batch: Batch) -> str:
        request = exchange.request
        base = self._options.public_url
        if base is None:
            scheme = request.headers.get("x-forwarded-proto", request.scheme)
            base = f"{scheme}://{request.headers.get('x-forwarded-host', request.host)}"
        return f"{base.rstrip('/')}/v1/messages/batches/{batch.id}/results"
