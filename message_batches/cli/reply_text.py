"""A result line as a person reads it: the reply's text, or what went wrong."""

import json
from dataclasses import dataclass
from typing import Any

from message_batches.result_lines import loosely_decoded, read_result


@dataclass(frozen=True)
class Reply:
    """A result in words.

    Attributes:
        outcome: `succeeded`, `errored`, `canceled` or `expired`.
        text: the text of the reply; for a tool call its name and input, for an error its type and message.
    """

    custom_id: str
    outcome: str
    text: str


def read_reply(line: bytes) -> Reply:
    """Read a result line; `ValueError` if it is none."""
    result = read_result(line)
    if result.error:
        kind, message = result.error
        return Reply(result.custom_id, result.type, f"{kind}: {message}")
    # A lone surrogate, which models do write, is shown as a question mark.
    decoded = loosely_decoded(line)
    text = "\n".join(_texts(decoded["result"].get("message"))) if isinstance(decoded["result"], dict) else ""
    return Reply(result.custom_id, result.type, text.encode("utf-8", "replace").decode())


def _texts(message: Any) -> list[str]:
    content = message.get("content") if isinstance(message, dict) else None
    texts = []
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict):
            continue
        if block.get("type") == "text":
            texts.append(str(block.get("text", "")))
        elif block.get("type") == "tool_use":
            texts.append(f"{block.get('name')}({json.dumps(block.get('input'), ensure_ascii=False)})")
    return texts
