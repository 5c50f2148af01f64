"""Any videos for a format's `write`, and what must be the same when they are read back."""

import tempfile
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from videoseg.formats import read_segments, recognise
from videoseg.formats.recorded import RecordedSegments
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.vocabulary import Vocabulary

Keep = Callable[[Segment], Hashable | None]
"""What of a segment a format tells apart: pixels with the same answer may run together, with None they may go."""


def videos_of(vocabulary: Vocabulary, name: str) -> st.SearchStrategy[dict[str, list[PanopticFrame]]]:
    """One video of one to three frames of 3×5, up to four tracks of any category; some are crowds."""
    id_maps = hnp.arrays(np.uint16, (3, 5), elements=st.sampled_from([0, 1, 2, 300, 65535]))
    tracks = st.lists(st.integers(1, 10**6), min_size=4, max_size=4, unique=True)
    words = st.lists(st.tuples(st.integers(0, len(vocabulary) - 1), st.booleans()), min_size=4, max_size=4)

    def make(
        maps: list[np.ndarray], numbers: list[int], said: list[tuple[int, bool]]
    ) -> dict[str, list[PanopticFrame]]:
        of = dict(zip([1, 2, 300, 65535], zip(numbers, said, strict=True), strict=True))
        frames = []
        for index, id_map in enumerate(maps):
            segments = [
                Segment(
                    id=i,
                    category=of[i][1][0],
                    is_thing=vocabulary[of[i][1][0]].is_thing,
                    score=1.0,
                    area=area,
                    box=box,
                    track=of[i][0],
                    # Stuff is never a crowd: there are no instances to tell apart.
                    crowd=of[i][1][1] and vocabulary[of[i][1][0]].is_thing,
                )
                for i, (area, box) in measure_segments(id_map).items()
            ]
            frames.append(PanopticFrame(name, 0, index, index, Fraction(1, 25), index / 25, id_map, tuple(segments)))
        return {name: frames}

    return st.builds(make, st.lists(id_maps, min_size=1, max_size=3), tracks, words)


def written_and_read(
    write: Callable[[Path, Vocabulary, Mapping[str, Iterable[PanopticFrame]]], Path],
    vocabulary: Vocabulary,
    videos: Mapping[str, Sequence[PanopticFrame]],
    format: str,
    check: Callable[[RecordedSegments], None],
) -> None:
    """Writes into a fresh folder, sees that exactly `format` is recognised, and checks what is read."""
    with tempfile.TemporaryDirectory() as place:
        folder = write(Path(place) / "written", vocabulary, {name: iter(frames) for name, frames in videos.items()})
        assert folder == Path(place) / "written"
        assert recognise(folder) == [format]
        check(read_segments(folder))


def assert_kept(read: RecordedSegments, video: str, written: Sequence[PanopticFrame], keep: Keep) -> None:
    """Every frame has the same masks under the same tokens, and tracks are the tokens under other names.

    A token begins with the name of the category and the crowd flag that must be read.
    """
    frames = list(read.frames(video))
    assert len(frames) == len(written)
    names: dict[Hashable, int | None] = {}
    for ours, theirs in zip(frames, written, strict=True):
        expected: dict[Hashable, np.ndarray] = {}
        for segment in theirs.segments:
            token = keep(segment)
            if token is not None:
                mask = theirs.id_map == segment.id
                expected[token] = expected.get(token, np.zeros_like(mask)) | mask
        found = {
            (ours.id_map == s.id).tobytes(): (read.vocabulary[s.category].name, s.crowd, s.track) for s in ours.segments
        }
        assert {mask.tobytes() for mask in expected.values()} == found.keys()
        for token, mask in expected.items():
            assert isinstance(token, tuple)
            category, crowd, track = found[mask.tobytes()]
            assert (category, crowd) == token[:2]
            assert names.setdefault(token, track) == track
    assert len(set(names.values())) == len(names)
