"""`WrappedSegmenter`: stands in front of another segmenter and changes what it says."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from videoseg.protocols import Segmenter, StreamState
from videoseg.vocabulary import Vocabulary


class WrappedSegmenter:
    """All but `segment` of the `Segmenter` protocol, passed on to another one."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    @property
    def vocabulary(self) -> Vocabulary:
        return self.segmenter.vocabulary

    def describe(self) -> Mapping[str, str]:
        """See `Segmenter`."""
        return self.segmenter.describe()

    def new_state(self, stream: str) -> StreamState:
        """See `Segmenter`."""
        return self.segmenter.new_state(stream)

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        """See `Segmenter`."""
        return self.segmenter.classify(open_vocabulary, vocabulary)
