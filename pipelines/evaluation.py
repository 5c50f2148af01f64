"""A run folder, or a folder of segments, against ground truth: joins `eval` with the store."""

from pathlib import Path

from eval import Evaluation, Report, evaluate_folders
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.store.folder import MANIFEST
from videoseg.store.reader import open_run


def score(prediction: str | Path, truth: str | Path) -> Report:
    """Evaluates a prediction.

    Args:
        prediction: a run folder, or per-frame segments in a format that videoseg reads.
        truth: ground truth in such a format. For a run, the video whose name is that of the run's source, or the only
            one.

    Raises:
        InputError: nothing readable there, or no video in common.
    """
    if not (Path(prediction) / MANIFEST).is_file():
        return evaluate_folders(truth, prediction)
    run, known = open_run(prediction), read_segments(truth)
    video = Path(run.manifest.stream).stem
    if len(known.videos) == 1:
        video = known.videos[0]
    if video not in known.videos:
        raise InputError(
            f"{truth} has no video {video!r}, which the run {prediction} is of. It has: {', '.join(known.videos[:5])}."
        )
    evaluation = Evaluation(known.vocabulary)
    evaluation.add_video(known.frames(video), run.frames(), run.vocabulary)
    return evaluation.report()
