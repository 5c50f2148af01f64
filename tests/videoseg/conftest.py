"""Puts this folder on the path, so that the tests of this room can `import video_clips`.

pytest's importlib mode adds nothing to sys.path by itself.
"""

import sys
from pathlib import Path

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)
