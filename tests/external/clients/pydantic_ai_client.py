"""Agents of pydantic-ai whose requests go through batches; prints their outputs as one line of JSON."""

import asyncio
import json
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.capabilities import BatchModelRequests

TEXTS = ("Anna, born in May", "Acme, with two people")
MOMENT = timedelta(milliseconds=100)


class Person(BaseModel):
    """A person."""

    kind: Literal["person"]
    name: str
    born: date | None = None


class Company(BaseModel):
    """A company with its people."""

    kind: Literal["company"]
    people: list[Person] = Field(min_length=1)
    size: Literal["small", "large"]


class Found(BaseModel):
    """Whatever a text names."""

    party: Annotated[Person | Company, Field(discriminator="kind")]
    certainty: float = Field(ge=0, le=1)
    words: list[str] = Field(max_length=5)


async def main() -> None:
    """Ask in text, by a tool and by a schema, all in batches."""
    outputs: dict[str, Any] = {"text": str, "tool": ToolOutput(Found), "native": NativeOutput(Found)}
    said: dict[str, list[Any]] = {}
    async with BatchModelRequests(max_wait=MOMENT, poll_interval=MOMENT) as batching:
        for name, output in outputs.items():
            agent = Agent("anthropic:claude-sonnet-5", output_type=output, capabilities=[batching])
            runs = await asyncio.gather(*(agent.run(text) for text in TEXTS))
            said[name] = [run.output if name == "text" else run.output.model_dump(mode="json") for run in runs]
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main())
