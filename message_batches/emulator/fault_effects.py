"""The effects of faults on replies and batches."""

from collections.abc import Sequence

from message_batches.emulator.batches import BatchRequest, OrderedOutcome
from message_batches.emulator.errors import ErrorReply, batch_not_found
from message_batches.emulator.exchange import Reply
from message_batches.emulator.faults import Fault
from message_batches.emulator.params_validation import Refusal

_MESSAGES = {
    429: "This request would exceed your account's rate limit. Please try again later.",
    503: "Service unavailable",
    529: "Overloaded",
}


def error_for(fault: Fault, batch_id: str | None = None) -> ErrorReply:
    """Return the error of a refusing fault."""
    retry_after, should_retry = fault.number("retry_after"), fault.flag("should_retry")
    if fault.name == "404":
        return batch_not_found(str(batch_id))
    if fault.name == "spend-limit":
        message = "This request would exceed your organization's monthly spend limit."
        return ErrorReply(429, message, error_code="enforced_spend_limit_reached", should_retry=should_retry)
    status = int(fault.name) if fault.name.isdigit() else int(fault.number("status") or 500)
    message = fault.text("message") or _MESSAGES.get(status, "Internal server error")
    return ErrorReply(
        status,
        message,
        type=fault.text("type"),
        error_code=fault.text("error_code"),
        retry_after=retry_after,
        should_retry=should_retry,
    )


def outcome_of(fault: Fault) -> OrderedOutcome:
    """Return what a fault orders for the requests of a batch."""
    stop_reason, blocks, share = fault.text("stop_reason"), fault.number("blocks"), fault.number("share")
    succeeds = stop_reason is not None or blocks is not None
    error = Refusal(fault.text("error") or "api_error", fault.text("message") or "Internal server error", at_work=True)
    return OrderedOutcome(
        share=1.0 if share is None else share,
        type=fault.text("type") or ("succeeded" if succeeds else "errored"),
        refusal=error,
        stop_reason=stop_reason,
        category=fault.text("category"),
        blocks=int(blocks or 1),
        custom_id=fault.text("custom_id"),
    )


def of_another_writer(fault: Fault, requests: Sequence[BatchRequest]) -> list[BatchRequest]:
    """Return the requests of a batch that another program creates at that moment."""
    model, max_tokens, prefix = fault.text("model"), fault.number("max_tokens"), fault.text("prefix")
    return [
        request._replace(
            custom_id=request.custom_id if prefix is None else f"{prefix}{number}",
            model=model or request.model,
            max_tokens=int(max_tokens or request.max_tokens),
        )
        for number, request in enumerate(requests)
    ]


def edited(shown: dict[str, object], faults: Sequence[Fault]) -> dict[str, object]:
    """Return a batch as faults show it; a dotted name is of a field within a field."""
    for fault in faults:
        *parents, last = str(fault.parameters["field"]).split(".")
        place = shown
        for parent in parents:
            inner = place.get(parent)
            place[parent] = place = dict(inner) if isinstance(inner, dict) else {}
        place[last] = fault.parameters.get("value")
        if fault.flag("absent"):
            del place[last]
    return shown


_TITLES = {413: "Payload Too Large", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Time-out"}


def html_page(status: int) -> Reply:
    """Return the page of a proxy before the API: neither JSON nor a request id."""
    title = f"{status} {_TITLES.get(status, 'Error')}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
    return Reply(status, page.encode(), "text/html", {"Server": "cloudflare", "Connection": "close"})
