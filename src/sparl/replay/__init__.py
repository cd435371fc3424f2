"""Experience: a ring of episodes, or of single steps (`transitions`), and rules that draw."""

from sparl.replay.batch import Batch, read_batch, to_batch
from sparl.replay.draw import DRAWS, dual, uniform
from sparl.replay.ring import (
    Ring,
    Step,
    discard,
    episode_lengths,
    gather,
    init,
    insert,
    ring_rows,
)

__all__ = [
    "DRAWS",
    "Batch",
    "Ring",
    "Step",
    "discard",
    "dual",
    "episode_lengths",
    "gather",
    "init",
    "insert",
    "read_batch",
    "ring_rows",
    "to_batch",
    "uniform",
]
