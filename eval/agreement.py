"""Agreement of two runs, of which one stands for the truth: how much a quicker way of computing changes the result.

It is PQ with all segments in one class (a segment still matches only its own category): Σ IoU / (TP + FP/2 + FN/2),
over all segments, and frame by frame. Two runs never agree wholly: a change in the last bit of a probability moves a
segment over a threshold. So a number means something only beside its noise floor, the agreement of a run that differs
in nothing that matters (a second run, another batch size, other rounding).
"""

import math

import numpy as np
from numpy.typing import NDArray

WORST = 0.05
"""Share of the frames that `agreement.worst` is the mean of."""


def agreement_values(frames: NDArray[np.float64]) -> dict[str, float]:
    """`agreement.segments`, `agreement.frames`, `agreement.worst` as fractions; NaN where nothing was seen.

    Args:
        frames: float64 `[T, 4]`: IoU, TP, FP, FN of every frame over all categories. Frames without events are left
            out.
    """
    iou, tp, fp, fn = frames.T
    weight = tp + 0.5 * fp + 0.5 * fn
    seen = weight > 0
    if not seen.any():
        return dict.fromkeys(("agreement.segments", "agreement.frames", "agreement.worst"), math.nan)
    of_frame = np.sort(iou[seen] / weight[seen])
    worst = of_frame[: max(1, math.ceil(WORST * len(of_frame)))]
    return {
        "agreement.segments": float(iou.sum() / weight.sum()),
        "agreement.frames": float(of_frame.mean()),
        "agreement.worst": float(worst.mean()),
    }
