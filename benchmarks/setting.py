"""The setting of a run of the benchmarks: sizes, number of rounds, and the folder of its files."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """The setting that every benchmark gets.

    Attributes:
        folder: an empty directory, removed afterwards.
        rounds: the number of executions of each contender; they take turns.
        scale: 1 for the sizes of the goals; less to check quickly that everything works.
    """

    folder: Path
    rounds: int
    scale: float

    @property
    def tiny(self) -> bool:
        """Whether only the function is checked, and no duration matters."""
        return self.scale < 0.01

    def sized(self, full: int, *, least: int = 1) -> int:
        """Return a size at this scale, but at least so much."""
        return max(least, round(full * self.scale))

    def say(self, text: str) -> None:
        """Print the progress, apart from the table."""
        print(f"  {text}", file=sys.stderr, flush=True)
