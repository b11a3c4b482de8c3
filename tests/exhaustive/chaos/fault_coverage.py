"""The faults of each round: every kind alone, and every pair of them, within one cycle of rounds."""

import random
from collections.abc import Sequence
from itertools import combinations

from message_batches.emulator.faults import FAULT_KINDS

CYCLE = 200
"""Rounds of a cycle, in which every pair of faults is tried."""
BARE = 10
"""Rounds of a cycle without any fault: harm to processes alone."""

AIMED = ("error", "outcome", "field", "insert", "foreign-batch")
"""Faults that do nothing until a test gives them arguments: no round draws them."""
DRAWN = tuple(kind for kind in FAULT_KINDS if kind not in AIMED)

FaultSet = tuple[str, ...]


def fault_sets(seed: int, kinds: Sequence[str] = DRAWN) -> list[FaultSet]:
    """Return the faults of each round of a cycle, in an order that depends on the seed.

    There are more pairs than rounds for them, so some rounds have three faults, which are three pairs.
    """
    chance = random.Random(f"{seed}: faults")
    kinds = list(kinds)
    chance.shuffle(kinds)
    pairs = {frozenset(pair) for pair in combinations(kinds, 2)}
    room = CYCLE - BARE - len(kinds)
    triples = _triples(kinds, -(-max(0, len(pairs) - room) // 2))
    pairs -= {frozenset(pair) for triple in triples for pair in combinations(triple, 2)}
    alone = [(kind,) for kind in kinds]
    sets: list[FaultSet] = [*alone, *triples, *sorted(tuple(sorted(pair)) for pair in pairs)]
    sets += [()] * (CYCLE - len(sets))
    chance.shuffle(sets)
    return sets


def _triples(kinds: Sequence[str], number: int) -> list[FaultSet]:
    """Return triples of which no two share a pair: on a circle, the distances 1, 2 and 3 occur once each."""
    around = len(kinds)
    assert number <= around >= 7, f"{CYCLE} rounds are too few for the pairs of {around} faults"
    return [(kinds[i], kinds[(i + 1) % around], kinds[(i + 3) % around]) for i in range(number)]
