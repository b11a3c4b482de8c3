"""What the emulator keeps of a request: enough to answer it, whatever its size."""

from typing import NamedTuple

from message_batches.emulator.params import Refusal
from message_batches.emulator.prompts import Prompt


class BatchRequest(NamedTuple):
    """One request of a batch; a hundred thousand of them take some tens of megabytes."""

    custom_id: str
    model: str
    max_tokens: int
    refusal: Refusal | None
    prompt: Prompt
