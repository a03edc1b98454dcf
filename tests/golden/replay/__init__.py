"""Compare what is computed here with what published implementations computed, number by number.

`python -m tests.golden.replay FILE.npz ...` reads reference files: arrays that a published program was given and
what it answered. What a file is follows from its config and the names of its arrays, never from the file's name.
"""

from tests.golden.replay.compare import Comparison, Outcome
from tests.golden.replay.kinds import replay
from tests.golden.replay.reference import Reference, read

__all__ = ["Comparison", "Outcome", "Reference", "read", "replay"]
