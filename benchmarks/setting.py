"""How a run of the benchmarks is set: how large, how often, and where its files go."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """What every benchmark is given.

    Attributes:
        folder: an empty directory, removed afterwards.
        rounds: how often each contender runs; they take turns.
        scale: 1 for the sizes of the goals; less to see quickly whether all of it works.
    """

    folder: Path
    rounds: int
    scale: float

    @property
    def tiny(self) -> bool:
        """Whether all that is asked is that it works: nobody looks at how long anything takes."""
        return self.scale < 0.01

    def sized(self, full: int, *, least: int = 1) -> int:
        """A size at this scale, at least so much."""
        return max(least, round(full * self.scale))

    def say(self, text: str) -> None:
        """Tell how far it is, beside the table."""
        print(f"  {text}", file=sys.stderr, flush=True)
