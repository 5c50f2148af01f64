"""`evaluate_folders`: results on disk against ground truth on disk, in any format that videoseg reads.

Videos are paired by name; where both sides hold only one, the names need not agree. Frames are paired by the names
of their files, where both sides have such names and share some; else by number: what the file says (files of ours do),
or the place in the list.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from eval.data_sets import recognise_data_set
from eval.evaluation import WINDOWS, Evaluation
from eval.instance_precision import AveragePrecision
from eval.names import IMAGE_METRICS, INSTANCE_METRICS, PANOPTIC_METRICS
from eval.panoptic_quality import ShortVideos
from eval.report import Report
from videoseg.errors import InputError
from videoseg.formats import find_format, read_segments, recognise
from videoseg.formats.instances import RecordedInstances, read_instances
from videoseg.formats.json_file import forget_json
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

_RUN = "run_folder"
"""The format of our own runs."""

Progress = Callable[[int, int], None]
"""(videos done, videos in all)."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured on which files."""

    gt: Path
    pred: Path
    metrics: tuple[str, ...] | None = None
    """None: those that fit the ground truth."""
    windows: tuple[int, ...] = WINDOWS
    short_videos: ShortVideos = "skip"
    category_groups: Mapping[str, Collection[str]] | None = None
    """None: those of the ground truth's `world.json`, where there is one."""
    video_groups: Mapping[str, Collection[str]] | None = None
    gt_format: str | None = None
    """Name of a format; None: recognised, as it is of `pred`."""
    pred_format: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """All counts, and what does not add up over videos."""

    evaluation: Evaluation
    precision: AveragePrecision | None

    def report(self) -> Report:
        """Everything."""
        if self.evaluation.frames:
            report = self.evaluation.report()
            if self.precision is None:
                return report
            rows = {name: dict(row) for name, row in report.per_category.items()}
            for name, precision in self.precision.per_category().items():
                rows.setdefault(name, {})["ap"] = precision
            return replace(report, values=report.values | self.precision.result(), per_category=rows)
        if self.precision is None:
            return self.evaluation.report()
        names = self.evaluation.video_names
        rows = {name: {"ap": precision} for name, precision in self.precision.per_category().items()}
        return Report(self.precision.result(), rows, len(names), 0, self.evaluation.conventions)


def evaluate_folders(
    gt: str | Path,
    pred: str | Path,
    *,
    metrics: Sequence[str] | None = None,
    windows: Sequence[int] = WINDOWS,
    short_videos: ShortVideos = "skip",
    category_groups: Mapping[str, Collection[str]] | None = None,
    video_groups: Mapping[str, Collection[str]] | None = None,
    workers: int = 1,
    on_video: Progress | None = None,
) -> Report:
    """Evaluates a folder of predictions against a folder of ground truth.

    A ground-truth video without a prediction is predicted void.

    Args:
        gt, pred: folders, or files of formats that are one file; a run folder is one, too.
        metrics: see `names.METRICS`; None means those that fit the ground truth: all of panoptic video; of images PQ
            and mIoU; where only things are labelled, tracking and average precision.
        windows: of VPQ.
        short_videos: what VPQ does with videos shorter than a window.
        category_groups, video_groups: names of members by group, for rows of their own; None reads them from a
            `world.json` in or beside the ground truth.
        workers: processes; videos are shared among them, and the result is the same to the last bit.
        on_video: is told how far it got.

    Raises:
        InputError: nothing readable there, no video in common, ground truth without tracks, differing sizes.
    """
    question = Question(
        Path(gt), Path(pred), None if metrics is None else tuple(metrics), tuple(windows), short_videos,
        category_groups, video_groups,
    )  # fmt: skip
    return measure(question, workers=workers, on_video=on_video).report()


def measure(question: Question, *, workers: int = 1, on_video: Progress | None = None) -> Measured:
    """Counts everything; see `evaluate_folders`."""
    sides = _Sides(question)
    evaluation = sides.new_evaluation(question)
    pairs = sides.pairs
    evaluation.conventions.missing_videos += [name for name, other in pairs if other is None]
    paired = {other for _, other in pairs}
    evaluation.conventions.extra_videos += [name for name in sides.guess.videos if name not in paired]
    precision = AveragePrecision(sides.truth.vocabulary) if "ap" in evaluation.metrics else None
    measures_pixels = set(evaluation.metrics) - {"ap"}
    if measures_pixels:
        names = [name for name, _ in pairs]
        for done, part in enumerate(_parts(question, sides, names, workers), start=1):
            evaluation += part
            if on_video is not None:
                on_video(done, len(names))
    else:
        evaluation.video_names += [name for name, _ in pairs]
    if precision is not None:
        truth, guess = sides.instances()
        for name, other in pairs:
            precision.add_video(
                truth.videos[name], guess.videos[other] if other is not None else None, guess.vocabulary
            )
    return Measured(evaluation, precision)


class _Sides:
    """Both sides of a question, opened."""

    def __init__(self, question: Question) -> None:
        self._question = question
        try:
            self.truth, self._truth_instances = _open(question.gt, None, question.gt_format)
            self.guess, self._guess_instances = _open(question.pred, question.gt, question.pred_format)
        finally:
            forget_json()  # parsed files may be large, and none is needed any more
        # A file that does not name its categories means those that the other side has under these ids.
        self.truth, self.guess = _with_names(self.truth, self.guess), _with_names(self.guess, self.truth)
        self.data_set = recognise_data_set(self.truth.format, self.truth.vocabulary)
        if self.data_set is not None:
            self.truth = replace(self.truth, vocabulary=self.data_set.with_words(self.truth.vocabulary))
        truth, guess = self.truth.videos, self.guess.videos
        if not truth:
            raise InputError(f"{question.gt} holds no video: there is nothing to evaluate.")
        self.pairs: list[tuple[str, str | None]] = [(name, name if name in guess else None) for name in truth]
        """Ground-truth video and its prediction."""
        if len(truth) == len(guess) == 1:
            self.pairs = [(truth[0], guess[0])]
        elif len(guess) == 1 and self.guess.format == _RUN:
            # One run is of one video: the others were not asked of it.
            self.pairs = [pair for pair in self.pairs if pair[1] is not None] or self.pairs
        if all(other is None for _, other in self.pairs):
            raise InputError(
                f"{question.gt} and {question.pred} have no video in common: {', '.join(truth[:3])} against "
                f"{', '.join(guess[:3]) or 'none'}. Videos are paired by name."
            )

    def new_evaluation(self, question: Question) -> Evaluation:
        """An empty one."""
        metrics = question.metrics
        if metrics is None:
            metrics = self._fitting_metrics()
        elif not self.truth.tracked and not set(metrics) <= set(IMAGE_METRICS):
            raise InputError(
                f"{question.gt} has no tracks, which {', '.join(m for m in metrics if m not in IMAGE_METRICS)} need. "
                f"Of single frames these can be measured: {', '.join(IMAGE_METRICS)}."
            )
        categories, videos = question.category_groups, question.video_groups
        if categories is None or videos is None:
            known = groups_of_world(question.gt)
            categories, videos = known[0] if categories is None else categories, known[1] if videos is None else videos
        names = {name.casefold() for category in self.truth.vocabulary for name in category.names}
        if question.category_groups is None:  # a world knows more concepts than one ground truth may list
            categories = {
                g: [name for name in members if name.casefold() in names] for g, members in categories.items()
            }
        return Evaluation(
            self.truth.vocabulary,
            metrics=metrics,
            windows=question.windows,
            short_videos=question.short_videos,
            unlabelled=self.truth.unlabelled,
            category_groups={group: members for group, members in categories.items() if members},
            video_groups=videos,
        )

    def _fitting_metrics(self) -> tuple[str, ...]:
        if self.data_set is not None and self.data_set.kind.startswith("semantic"):
            return self.data_set.metrics
        if not self.truth.tracked:
            return IMAGE_METRICS[:2]
        if self._truth_instances is not None:
            return INSTANCE_METRICS
        if self.truth.unlabelled == "background":
            return tuple(name for name in INSTANCE_METRICS if name != "ap")
        return PANOPTIC_METRICS

    def evaluate(self, part: Evaluation, name: str) -> Evaluation:
        """Adds one ground-truth video."""
        other = dict(self.pairs)[name]
        part.add_pairs(_paired_frames(self.truth, name, self.guess, other, part), self.guess.vocabulary, name=name)
        return part

    def instances(self) -> tuple[RecordedInstances, RecordedInstances]:
        """Both sides as tracks of masks."""
        return (
            self._truth_instances or read_instances(self._question.gt),
            self._guess_instances or read_instances(self._question.pred, self._question.gt),
        )


def _with_names(side: RecordedSegments, other: RecordedSegments) -> RecordedSegments:
    """Where `side` calls its categories by their ids, with the names that `other` has for these ids."""
    if side.named or not other.named or not other.category_ids:
        return side
    known = dict(zip(other.category_ids, other.vocabulary, strict=True))
    own = zip(side.category_ids, side.vocabulary, strict=True)
    return replace(side, vocabulary=Vocabulary(tuple(known.get(number, category) for number, category in own)))


def _open(
    path: Path, ground_truth: Path | None, format: str | None
) -> tuple[RecordedSegments, RecordedInstances | None]:
    """Reads `path`; of a format of overlapping instances also as these."""
    if path.exists():
        found = recognise(path) if format is None else [format]
        if len(found) == 1 and hasattr(find_format(found[0]), "read_instances"):
            beside = ground_truth.parent if ground_truth is not None and ground_truth.is_file() else ground_truth
            instances = read_instances(path, _json_of(beside) if beside is not None else None, format)
            return instances.to_segments(), instances
        runs = [] if found or not path.is_dir() else _run_folders(path)
        if runs:
            return _joined(path, [read_segments(run) for run in runs]), None
    return read_segments(path, format), None


def _run_folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and recognise(folder) == [_RUN])


def _joined(path: Path, runs: Sequence[RecordedSegments]) -> RecordedSegments:
    """The runs of a folder as one result of several videos."""
    by_video: dict[str, RecordedSegments] = {}
    for run in runs:
        for video in run.videos:
            if video in by_video:
                raise InputError(f"{path} holds two runs of {video!r}: {by_video[video].path} and {run.path}.")
            if run.vocabulary.checksum != runs[0].vocabulary.checksum:
                raise InputError(f"The runs in {path} have different vocabularies: {runs[0].path} and {run.path}.")
            by_video[video] = run
    return replace(
        runs[0],
        path=path,
        recorded={video: run.recorded[video] for video, run in by_video.items()},
        in_a_row=lambda video, start, stop: by_video[video].frames(video, start, stop),
    )


def _json_of(path: Path) -> Path | None:
    """Ground truth that results need beside them is one file; None where `path` holds none or several."""
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    return files[0] if len(files) == 1 else None


def _parts(question: Question, sides: _Sides, names: Sequence[str], workers: int) -> Iterator[Evaluation]:
    """The counts of every video, in order."""
    if workers < 1:
        raise InputError(f"The number of workers must be at least 1, got {workers}.")
    empty = sides.new_evaluation(question)
    if workers == 1 or len(names) == 1:
        for name in names:
            yield sides.evaluate(empty.part(), name)
        return
    # Fresh processes: a fork would copy whatever threads the caller has.
    with ProcessPoolExecutor(
        min(workers, len(names)), get_context("spawn"), initializer=_begin_worker, initargs=(question,)
    ) as pool:
        yield from pool.map(_evaluate_in_worker, names)


_worker: tuple[_Sides, Evaluation] | None = None


def _begin_worker(question: Question) -> None:
    global _worker
    sides = _Sides(question)
    _worker = sides, sides.new_evaluation(question)


def _evaluate_in_worker(name: str) -> Evaluation:
    assert _worker is not None
    sides, empty = _worker
    return sides.evaluate(empty.part(), name)


def _paired_frames(
    truth: RecordedSegments, name: str, guess: RecordedSegments, other: str | None, evaluation: Evaluation
) -> Iterator[tuple[PanopticFrame, PanopticFrame | None]]:
    if other is None:
        for frame in truth.frames(name):
            yield frame, None
        return
    gt_names, pred_names = _frame_names(truth.recorded[name]), _frame_names(guess.recorded[other])
    if gt_names is None or pred_names is None or not set(gt_names) & set(pred_names):
        yield from evaluation.paired(truth.frames(name), guess.frames(other))
        return
    if all(f.index is not None for side in (truth.recorded[name], guess.recorded[other]) for f in side):
        # Both are files of ours, whose names only count frames; the numbers say which frames of the video they are.
        yield from evaluation.paired(truth.frames(name), guess.frames(other))
        return
    places = {frame: place for place, frame in enumerate(pred_names)}
    evaluation.conventions.extra_frames += len(set(pred_names) - set(gt_names))
    at = -1
    predictions: Iterator[PanopticFrame] = iter(())
    for frame_name, frame in zip(gt_names, truth.frames(name), strict=True):
        place = places.get(frame_name)
        if place is None:
            yield frame, None
            continue
        if place != at:
            predictions = guess.frames(other, place)
        at = place + 1
        yield frame, next(predictions)


def _frame_names(frames: Sequence[RecordedFrame]) -> list[str] | None:
    """Names without ending; None where they don't tell frames apart."""
    names = [frame.file.stem for frame in frames]
    return names if len(set(names)) == len(names) else None


def groups_of_world(gt: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Groups of categories and of videos of a synthetic world; empty where the ground truth is none.

    `world.json` in the folder of the ground truth or in the one above holds them: `categories` (base, novel, stuff)
    and `rows` (levels, styles). Base and stuff are also taken together: what a model was taught with masks.
    """
    folder = gt if gt.is_dir() else gt.parent
    for file in (folder / "world.json", folder.parent / "world.json"):
        if file.is_file():
            categories, videos = read_groups(file)
            if {"base", "stuff"} <= categories.keys():
                categories = {"base and stuff": [*categories["base"], *categories["stuff"]], **categories}
            return categories, videos
    return {}, {}


def read_groups(file: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Groups of categories and of videos from a JSON: `categories` and `rows`, each an object of lists of names.

    Raises:
        InputError: there is no such file, or it is no JSON.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no {file}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}.") from None
    data = data if isinstance(data, dict) else {}
    return _groups(data.get("categories")), _groups(data.get("rows"))


def _groups(found: Any) -> dict[str, list[str]]:
    """Group -> members; empty where it is something else, as in a file of other people's."""
    if not isinstance(found, dict):
        return {}
    lists = all(isinstance(members, list) for members in found.values())
    if not lists or not all(isinstance(name, str) for members in found.values() for name in members):
        return {}
    return dict(found)
