"""What a fault answers in place of the API."""

from message_batches.emulator.errors import ApiError, batch_not_found
from message_batches.emulator.exchange import Answer
from message_batches.emulator.faults import Fault

_MESSAGES = {
    429: "This request would exceed your account's rate limit. Please try again later.",
    503: "Service unavailable",
    529: "Overloaded",
}


def error_of(fault: Fault, batch_id: str | None = None) -> ApiError:
    """The error that a refusing fault stands for."""
    retry_after, should_retry = fault.number("retry_after"), fault.flag("should_retry")
    if fault.name == "404":
        return batch_not_found(str(batch_id))
    if fault.name == "spend-limit":
        told = "This request would exceed your organization's monthly spend limit."
        return ApiError(429, told, error_code="enforced_spend_limit_reached", should_retry=should_retry)
    status = int(fault.name) if fault.name.isdigit() else int(fault.parameters.get("status", 500))
    message = _MESSAGES.get(status, "Internal server error")
    return ApiError(status, message, retry_after=retry_after, should_retry=should_retry)


def html_413() -> Answer:
    """The page of a proxy before the API: neither JSON nor a request id."""
    page = (
        b"<html>\r\n<head><title>413 Payload Too Large</title></head>\r\n<body>\r\n"
        b"<center><h1>413 Payload Too Large</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(413, page, "text/html", {"Server": "cloudflare", "Connection": "close"})
