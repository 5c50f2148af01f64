"""Puts this folder on the path, so that the tests of this room can `from golden_rules import …`.

pytest's importlib mode adds nothing to sys.path by itself.
"""

import sys
from pathlib import Path

import torch

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

# The reference's numbers have queries with a pixel on a hard threshold; which side it falls on depends on the order of
# sums, and with it on the number of threads. One thread is the profile in which these tests speak of equality.
torch.set_num_threads(1)
