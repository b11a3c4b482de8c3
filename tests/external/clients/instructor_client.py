"""A batch of instructor, from messages to validated objects; prints them as one line of JSON."""

import contextlib
import io
import json
import sys
from typing import Literal

from instructor.batch import BatchProcessor
from pydantic import BaseModel, Field


class Line(BaseModel):
    """A line of an invoice."""

    sku: str = Field(pattern=r"^[A-Z]{2}-\d{4}$")
    quantity: int = Field(ge=1, le=9)


class Invoice(BaseModel):
    """The fields of an invoice."""

    number: str
    currency: Literal["EUR", "USD"]
    lines: list[Line] = Field(min_length=2)
    note: str | None


def main() -> None:
    """Send as many requests as the argument says, and print what became of each."""
    processor = BatchProcessor("anthropic/claude-haiku-4-5", Invoice)
    texts = [[{"role": "user", "content": f"Invoice {number}"}] for number in range(int(sys.argv[1]))]
    # It prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        batch_id = processor.submit_batch(processor.create_batch_from_messages(texts))
        status = processor.get_batch_status(batch_id)["status"]
        results = processor.get_results(batch_id)
        listed = [job.id for job in processor.list_batches()]
    found = {each.custom_id: each.result.model_dump() if each.success else each.error_message for each in results}
    print(json.dumps({"status": status, "results": found, "listed": batch_id in listed}))


if __name__ == "__main__":
    main()
