"""Error responses, exact to the byte."""

import json
from collections.abc import Mapping

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout",
    409: "conflict_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ErrorReply(Exception):
    """A response other than 200."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or error_type(status)
        self.error_code = error_code
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["retry-after"] = f"{retry_after:g}"
        if should_retry is not None:
            self.headers["x-should-retry"] = "true" if should_retry else "false"

    def body(self, request_id: str | None) -> bytes:
        """Return the JSON of the error."""
        error: dict[str, object] = {"type": self.type, "message": self.message}
        if self.error_code is not None:
            error["details"] = {"error_code": self.error_code}
        return compact({"type": "error", "error": error, "request_id": request_id})


def error_type(status: int) -> str:
    """Return the API's name for a kind of error."""
    return _TYPES.get(status, "api_error")


def invalid(message: str) -> ErrorReply:
    """Return a 400 of the usual kind."""
    return ErrorReply(400, message)


def batch_not_found(batch_id: str) -> ErrorReply:
    """Return the 404 for a batch that does not exist, or belongs to another workspace."""
    return ErrorReply(404, f"Message Batch {batch_id} not found.")


def no_results(batch_id: str, status: int = 404) -> ErrorReply:
    """Return the error for a batch without results: not yet ended, or archived."""
    return ErrorReply(status, f"Message Batch {batch_id} has no available results.")


def compact(value: Mapping[str, object]) -> bytes:
    """Format JSON as the API writes it: UTF-8, no spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
