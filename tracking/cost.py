"""How unlike a track and a segment are, in [0, 1].

    cost = 1 - (w_o · O + w_e · E + w_c · C + w_s · S) / (w_o + w_e + w_c + w_s)

    O  mask overlap: IoU of the track's last mask, moved as the picture moved, with the segment; for a track that is
       missing, of its silhouette at the predicted place, times exp(-time missing / silhouette_fade)
    E  embedding likeness: (cosine to the track - m) / (k - m), cut to [0, 1], where m is the mean cosine between
       different segments of one frame and k that between tracks and their own segments, both measured as the stream
       goes; left out where either has no embedding
    C  class likeness: Bhattacharyya coefficient of the track's evidence and the segment's probabilities
    S  size and motion: the smaller over the larger area, times exp(-(distance to the predicted place / reach)²)

For a track that is lost O and S are left out too. A pair is considered if O ≥ overlap_gate, or if its embeddings allow
it and the segment is where the track can be (place_gate, size_gate, reach_seconds); things go with things, stuff with
stuff. A missing track and a segment whose embeddings contradict each other are not considered (contradiction). A pair
is made if its cost is below 1 - accept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.settings import TrackerSettings


def cost(
    overlap: NDArray[np.float64] | None,
    embedding: NDArray[np.float64],
    has_embedding: NDArray[np.bool_],
    class_likeness: NDArray[np.float64],
    size: NDArray[np.float64] | None,
    settings: TrackerSettings,
) -> NDArray[np.float64]:
    """The formula above for any number of pairs.

    Args:
        overlap: O, or None to leave it out.
        embedding: E, ignored where `has_embedding` is False.
        class_likeness: C.
        size: S, or None to leave it out.
    """
    embedding_weight = settings.embedding_weight * has_embedding
    total = settings.class_weight * class_likeness + embedding_weight * embedding
    weight = settings.class_weight + embedding_weight
    if overlap is not None:
        total = total + settings.overlap_weight * overlap
        weight = weight + settings.overlap_weight
    if size is not None:
        total = total + settings.size_weight * size
        weight = weight + settings.size_weight
    result: NDArray[np.float64] = 1.0 - total / np.maximum(weight, 1e-9)
    return result


@dataclass(frozen=True, slots=True)
class Contrast:
    """What cosines mean in this stream: the zero and the one of embedding likeness."""

    mean: float
    """Of two different segments of one frame."""
    deviation: float
    """Standard deviation of those."""
    kin: float
    """Mean of a track and its own segment."""

    @classmethod
    def of(cls, strangers: tuple[float, float, float], kin: tuple[float, float]) -> "Contrast":
        """From the decayed sums in the state.

        One imagined pair of strangers at 0 and one of kin at 1 stand for what is not known yet.
        """
        count, total, squares = strangers
        mean = total / (count + 1.0)
        variance = max(squares / (count + 1.0) - mean * mean, 0.0)
        # Above 0.95 nothing tells segments apart, and the division below would make noise of it.
        mean = min(max(mean, 0.0), 0.95)
        own = (kin[1] + 1.0) / (kin[0] + 1.0)
        return cls(mean=mean, deviation=float(variance**0.5), kin=max(own, mean + 0.05))

    def surely(self, deviations: float) -> float:
        """A cosine so many standard deviations above that of strangers, at most 0.7 of the way from them to kin.

        The limit is for scenes with twins, whose cosines widen the deviation of strangers beyond all bounds.
        """
        return self.mean + min(deviations * self.deviation, 0.7 * (self.kin - self.mean))

    def likeness(self, cosine: NDArray[np.float32]) -> NDArray[np.float64]:
        """E for cosines: 0 = a stranger or worse, 1 = as alike as a track and its own segment."""
        return np.clip((cosine.astype(np.float64) - self.mean) / (self.kin - self.mean), 0.0, 1.0)


def size_allows(
    track: NDArray[np.float64], segment: NDArray[np.float64], settings: TrackerSettings
) -> NDArray[np.bool_]:
    """Whether segments of areas `[M]` can be tracks of areas `[N]`, bool `[N, M]`.

    Occlusion leaves of an object as little as it likes; only growth is limited.
    """
    return segment[None, :] <= settings.size_gate * track[:, None]
