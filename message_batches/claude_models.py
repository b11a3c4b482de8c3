"""The Claude models of 2026-11-26 and their limits: for the emulator, and for checks that run without the API.

The API's own list, `GET /v1/models`, is the authority. Ids are those of `types/model_param.py` of `anthropic` 2.14.0;
limits and dates those of the provider's pages of models and retirements. A model with an alias comes back under its
dated id; ids without a date (4.6 and later) come back as they were sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

Lifecycle = Literal["active", "deprecated", "retired"]

_LONG_OUTPUT = 300_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaudeModel:
    """One model: its ids, the most tokens it takes and gives, and the day it is to be retired."""

    id: str
    alias: str | None = None
    released: date | None = None
    max_tokens: int = 128_000
    max_input_tokens: int = 1_000_000
    lifecycle: Lifecycle = "active"
    retires_at: date | None = None
    batches: bool = True
    """Whether the Message Batches API takes it."""
    shows_thinking: bool = False
    """Whether its thinking comes back as text where a request has no `display`; later models omit the text."""

    def output_limit(self, *, long_output: bool = False) -> int:
        """Return the largest `max_tokens` of a request; `long_output` is the beta `output-300k-2026-03-24`."""
        # The beta is of the models that write 128,000 tokens without it: 4.6 and later.
        return _LONG_OUTPUT if long_output and self.max_tokens >= 128_000 else self.max_tokens


CLAUDE_MODELS = (
    ClaudeModel(id="claude-fable-5-2"),
    ClaudeModel(id="claude-mythos-5-2"),
    ClaudeModel(id="claude-haiku-5-5"),
    ClaudeModel(id="claude-sonnet-5-5", released=date(2026, 9, 28)),
    ClaudeModel(id="claude-opus-5-5", released=date(2026, 9, 22)),
    ClaudeModel(id="claude-fable-5-1", released=date(2026, 9, 1)),
    ClaudeModel(id="claude-mythos-5-1", released=date(2026, 9, 1)),
    ClaudeModel(id="claude-opus-5", released=date(2026, 7, 24)),
    ClaudeModel(id="claude-sonnet-5", released=date(2026, 6, 30)),
    ClaudeModel(id="claude-fable-5", released=date(2026, 6, 9)),
    ClaudeModel(id="claude-mythos-5", released=date(2026, 6, 9)),
    ClaudeModel(id="claude-opus-4-8", released=date(2026, 5, 28)),
    ClaudeModel(id="claude-opus-4-7", released=date(2026, 4, 16)),
    ClaudeModel(id="claude-mythos-preview", lifecycle="deprecated", retires_at=date(2026, 6, 30)),
    ClaudeModel(id="claude-sonnet-4-6", released=date(2026, 2, 17), shows_thinking=True),
    ClaudeModel(id="claude-opus-4-6", released=date(2026, 2, 5), shows_thinking=True),
    ClaudeModel(
        id="claude-opus-4-5-20251101",
        alias="claude-opus-4-5",
        released=date(2025, 11, 24),
        lifecycle="deprecated",
        retires_at=date(2027, 1, 22),
        max_tokens=64_000,
        max_input_tokens=200_000,
        shows_thinking=True,
    ),
    ClaudeModel(
        id="claude-haiku-4-5-20251001",
        alias="claude-haiku-4-5",
        released=date(2025, 10, 15),
        max_tokens=64_000,
        max_input_tokens=200_000,
        shows_thinking=True,
    ),
    ClaudeModel(
        id="claude-sonnet-4-5-20250929",
        alias="claude-sonnet-4-5",
        released=date(2025, 9, 29),
        lifecycle="deprecated",
        retires_at=date(2026, 11, 30),
        max_tokens=64_000,
        max_input_tokens=200_000,
        shows_thinking=True,
    ),
    # Past its date of retirement; its limit of 32,000 is no other model's.
    ClaudeModel(
        id="claude-opus-4-1-20250805",
        alias="claude-opus-4-1",
        released=date(2025, 8, 5),
        max_tokens=32_000,
        max_input_tokens=200_000,
        shows_thinking=True,
        lifecycle="deprecated",
        retires_at=date(2026, 8, 5),
    ),
)
"""All models, the latest first."""


def by_name(models: Iterable[ClaudeModel] = CLAUDE_MODELS) -> Mapping[str, ClaudeModel]:
    """Return the models by what a request may call them: the id, and the alias."""
    return {name: model for model in models for name in (model.id, model.alias) if name is not None}
