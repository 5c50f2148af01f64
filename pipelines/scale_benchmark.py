"""What the pipeline costs around a network: `python -m pipelines.scale_benchmark`.

The segmenter here finds the same segments over and over, in no time or after a stated one, so that what is measured is
decoding, motion, tracking, writing and the way between them. Prints a JSON object of the figures of one measure:

    python -m pipelines.scale_benchmark --measure stages --frames 240
    python -m pipelines.scale_benchmark --measure overhead --frames 1200
    python -m pipelines.scale_benchmark --measure sleeping --executor ray
    python -m pipelines.scale_benchmark --measure workers
    python -m pipelines.scale_benchmark --measure memory --frames 100000
    python -m pipelines.scale_benchmark --measure chunks
    python -m pipelines.scale_benchmark --measure weights --frames 16

Wall time says what a machine that does nothing else would do only where it does nothing else; processor time is given
beside it, per stage and per frame.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world.write import write_world
from pipelines.chunks import OVERLAP
from pipelines.colour_segmenter import NoMemory
from pipelines.evaluation import score
from pipelines.jobs import segment_job, track_job
from pipelines.progress import Progress
from pipelines.run import run_job
from pipelines.settings import Placement, Products, RunSettings
from pipelines.stages import DecodeStage, MotionStage, SegmentStage, Stage, TrackStage, Window, WriteStage
from pipelines.stitching import stitch_run
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import Segmenter, StreamState
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.writer import RunWriter
from videoseg.video.writer import VideoWriter
from videoseg.vocabulary import Vocabulary

SEGMENTS = 24
"""Of each frame: a street scene has so many."""

RATE = 30

_VOCABULARY = "; ".join(f"thing {i}" for i in range(SEGMENTS - 4))
_STUFF = "; ".join(f"stuff {i}" for i in range(4))


def vocabulary() -> Vocabulary:
    return Vocabulary.build(things=_VOCABULARY, stuff=_STUFF)


@dataclass(frozen=True)
class MakeSleeping:
    """Makes a segmenter that takes so many seconds a frame; it can travel to other processes."""

    seconds: float

    def __call__(self) -> Segmenter:
        return SleepingSegmenter(self.seconds)


class SleepingSegmenter:
    """Finds the same blocks in every frame, shifted a little each time, after a stated time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._vocabulary = vocabulary()
        self._found: dict[tuple[int, int], list[tuple[NDArray[np.uint16], tuple[Segment, ...]]]] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    def describe(self) -> Mapping[str, str]:
        return {"segmenter": "sleeping", "model": "sleeping", "checksum": "", "seconds": str(self._seconds)}

    def new_state(self, stream: str) -> NoMemory:
        return NoMemory()

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        if self._seconds:
            time.sleep(self._seconds * len(frames))
        return [self._of(frame) for frame in frames]

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        raise InputError("The segmenter of the benchmark cannot classify again.")

    def _of(self, frame: Frame) -> PanopticFrame:
        size = frame.size
        if size not in self._found:
            self._found[size] = [_blocks(size, shift) for shift in range(8)]
        id_map, segments = self._found[size][frame.index % 8]
        return PanopticFrame.of(frame, id_map, segments)


def _blocks(size: tuple[int, int], shift: int) -> tuple[NDArray[np.uint16], tuple[Segment, ...]]:
    """uint16 `[H, W]` and its segments: four bands of stuff and blocks on them."""
    height, width = size
    id_map = (1 + np.arange(height) * 4 // height).astype(np.uint16)[:, None].repeat(width, axis=1)
    things = SEGMENTS - 4
    for i in range(things):
        left = (i * width // things + shift * width // 640) % width
        top = (i * 7 % 13) * height // 16
        id_map[top : top + max(2, height // 6), left : left + max(2, width // (2 * things))] = 5 + i
    rng = np.random.default_rng(0)
    segments = []
    for number, (area, box) in sorted(measure_segments(id_map).items()):
        is_thing = number > 4
        category = number - 5 if is_thing else things + number - 1
        embedding = rng.standard_normal(256).astype(np.float32)
        segments.append(
            Segment(
                id=number,
                category=category,
                is_thing=is_thing,
                score=0.9,
                area=area,
                box=box,
                embedding=embedding / np.linalg.norm(embedding),
                probabilities=((category, 0.9),),
            )
        )
    return id_map, tuple(segments)


def film(path: Path, frames: int, width: int, height: int) -> Path:
    """A film of a moving noise pattern, of that many frames; what takes long to make is kept."""
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16 + 8, width // 16 + 8, 3), dtype=np.uint8)
    ground = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    partial = path.with_suffix(".making.mp4")
    with VideoWriter(partial, width, height, rate=Fraction(RATE)) as out:
        for number in range(frames):
            shift = number % 64
            out.write(np.ascontiguousarray(ground[shift : shift + height, shift : shift + width]), time=number / RATE)
    partial.rename(path)
    return path


@dataclass(frozen=True)
class Measured:
    """One run."""

    frames: int
    wall: float
    """Seconds from the first frame asked for to the last one written, start of workers left out."""
    cpu: float
    """Seconds of processor time of this process and its children, start included."""
    busy: Mapping[str, float]
    """Stage -> seconds."""
    rss: tuple[tuple[int, float], ...]
    """(frames done, megabytes resident in this process) along the way."""
    folder_bytes: int
    seconds_at: tuple[tuple[int, float], ...]
    """(frames done, seconds) along the way."""

    def to_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "wall_s": round(self.wall, 3),
            "frames_per_s": round(self.frames / self.wall, 1),
            "cpu_ms_per_frame": round(1000 * self.cpu / self.frames, 2),
            "busy_ms_per_frame": {name: round(1000 * s / self.frames, 2) for name, s in self.busy.items()},
            "folder_bytes_per_frame": round(self.folder_bytes / self.frames, 1),
        }


def measure(clip: Path, seconds: float, placement: Placement, settings: RunSettings) -> Measured:
    """Runs a clip through the pipeline with a segmenter that takes so many seconds."""
    job = segment_job(clip, vocabulary(), model="colours", settings=settings, placement=placement)
    job = replace(job, make_segmenter=MakeSleeping(seconds))
    folder = Path(tempfile.mkdtemp(prefix="videoseg-bench-"))
    rss: list[tuple[int, float]] = []
    seen: list[tuple[int, float]] = []
    first: list[float] = []

    def note(progress: Progress) -> None:
        if progress.phase == "segment":
            first.append(time.perf_counter()) if not first else None
            seen.append((progress.done, time.perf_counter() - first[0]))
            if not rss or progress.done - rss[-1][0] >= max(1, (progress.total or 1) // 50):
                rss.append((progress.done, _resident()))

    cpu = _cpu()
    try:
        run = run_job(job, folder / "run", placement=placement, products=Products(overlay=False), on_progress=note)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        stages = {name: float(s) for name, s in run.report["stages"].items()}
        return Measured(run.num_frames, seen[-1][1], _cpu() - cpu, stages, tuple(rss), size, tuple(seen))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage_costs(clip: Path, size: int = 8) -> dict[str, float]:
    """Milliseconds of processor time per frame of each stage, one after the other in this thread.

    Unlike wall time they mean the same on a machine that is busy with other things.
    """
    placement = Placement(executor="inline")
    job = segment_job(clip, vocabulary(), model="colours", settings=RunSettings(), placement=placement)
    folder = Path(tempfile.mkdtemp(prefix="videoseg-bench-"))
    source = job.open_source()
    info, total = source.info, source.num_selected
    source.close()
    assert total is not None
    tracker = job.make_tracker()
    manifest = Manifest.of(
        model=MakeSleeping(0)().describe(),
        tracker=tracker.describe(),
        vocabulary=vocabulary(),
        source=info,
        chunk_plan=[ChunkPlan(number=0, start=0, stop=total)],
    )
    RunWriter.create(folder / "run", manifest)
    stages: dict[str, Stage] = {
        "decode": DecodeStage(job.open_source),
        "motion": MotionStage(),
        "segment": SegmentStage(MakeSleeping(0)),
        "track": TrackStage(job.make_tracker),
        "write": WriteStage(str(folder / "run")),
    }
    spent = dict.fromkeys(stages, 0.0)
    count = -(-total // size)
    try:
        for number in range(count):
            wanted = min(size, total - number * size)
            window = Window(manifest.chunk_plan[0], number, size, wanted, last=number == count - 1)
            for name, stage in stages.items():
                began = time.process_time()
                window = stage.advance(window)
                spent[name] += time.process_time() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: round(1000 * seconds / total, 3) for name, seconds in spent.items()}


def stitching_cost(clip: Path, frames_per_chunk: int) -> dict[str, float]:
    """Milliseconds of processor time for each seam between two chunks, and for the tables of each chunk."""
    placement = Placement(executor="inline")
    settings = RunSettings(frames_per_chunk=frames_per_chunk)
    job = segment_job(clip, vocabulary(), model="colours", settings=settings, placement=placement)
    folder = Path(tempfile.mkdtemp(prefix="videoseg-bench-"))
    try:
        job = replace(job, make_segmenter=MakeSleeping(0))
        run = run_job(job, folder / "run", placement=placement, products=Products(overlay=False))
        began = time.process_time()
        joined = stitch_run(run)
        stitched = time.process_time()
        writer = RunWriter.open(folder / "run")
        writer.write_stitching(joined.table)
        writer.finish({}, further_events=joined.events)
        ended = time.process_time()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    chunks = len(run.chunks)
    return {
        "seams": chunks - 1,
        "ms_per_seam": round(1000 * (stitched - began) / max(1, chunks - 1), 1),
        "ms_per_chunk_of_tables": round(1000 * (ended - stitched) / chunks, 1),
    }


def chunked_against_whole(world: Path, frames_per_chunk: int, overlap: int) -> dict[str, dict[str, float]]:
    """STQ in points of every video of a synthetic world, tracked in chunks and in one piece.

    Two segmenters: `colours` on the pictures, which errs a lot, and the true segments of every frame without their
    tracks, so that nothing but tracking and stitching can go wrong.
    """
    inline = Placement(executor="inline")
    answer: dict[str, dict[str, float]] = {}
    words = Vocabulary.build(files=[world / "vocabulary.yaml"])
    with tempfile.TemporaryDirectory(prefix="videoseg-bench-") as scratch:
        for segments in ("colours", "true segments"):
            for name, length in (("chunks", frames_per_chunk), ("whole", 10**9)):
                settings = RunSettings(frames_per_chunk=length, overlap=overlap)
                for video in sorted((world / "videos").glob("*.mp4")):
                    job = (
                        segment_job(video, words, model="colours", settings=settings, placement=inline)
                        if segments == "colours"
                        else track_job(
                            world / "ground_truth",
                            pictures=video,
                            video=video.stem,
                            settings=settings,
                            placement=inline,
                        )
                    )
                    out = Path(scratch) / segments / name / video.stem
                    run_job(job, out, placement=inline, products=Products(overlay=False))
            chunks, whole = (Path(scratch) / segments / name for name in ("chunks", "whole"))
            scored = score(world / "ground_truth", chunks, metrics=("stq",), windows=(1,), against=whole)
            answer[segments] = {}
            for metric in ("stq", "aq", "stq_sq"):
                found = scored.against[metric]
                answer[segments] |= {
                    f"{metric} in chunks": round(100 * found.ours, 2),
                    f"{metric} in one piece": round(100 * found.other, 2),
                    f"{metric} difference": round(100 * found.difference, 2),
                }
    return answer


def weights_memory(clip: Path, scratch: Path) -> dict[str, dict[str, float]]:
    """Megabytes that workers with the small model take beside each other, pages that they share counted once.

    The model is stored in float32 for this, as official ones are: then its tensors are used as they stand in the file.
    """
    model = stored_in_float32(scratch / "small-float32")
    answer: dict[str, dict[str, float]] = {}
    for workers in (1, 2):
        placement = Placement(executor="local", workers=workers, processes=True, device="cpu", threads=1)
        settings = RunSettings(frames_per_chunk=8, overlap=0)
        job = segment_job(clip, vocabulary(), model=str(model), settings=settings, placement=placement)
        seen: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory(prefix="videoseg-bench-") as folder:
            run_job(
                job,
                Path(folder) / "run",
                placement=placement,
                products=Products(overlay=False),
                on_progress=lambda progress, seen=seen: seen.append(_shared_memory()),  # type: ignore[misc]
            )
        answer[f"{workers} worker{'s' if workers > 1 else ''}"] = max(seen, key=lambda each: each["all"])
    return answer


def stored_in_float32(folder: Path) -> Path:
    """The small model with its weights as float32, in a folder of its own."""
    from odise_frame.checkpoint_files.safetensors_file import SafetensorsFile, write_safetensors
    from odise_frame.checkpoints import INFO_FILE, shipped_folder

    shipped = shipped_folder("small")
    info = json.loads((shipped / INFO_FILE).read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for path in shipped.glob("*.safetensors"):
        with SafetensorsFile(path) as file:
            tensors = {name: value.float() for name, value in file.read_all()}
        entries = {name: (value.dtype, value.shape) for name, value in tensors.items()}
        info["sha256"][path.name] = write_safetensors(folder / path.name, entries, tensors.values())
    (folder / INFO_FILE).write_text(json.dumps(info))
    return folder


def _shared_memory() -> dict[str, float]:
    """Megabytes of this process's children: resident, the same with shared pages counted once, and that of weights."""
    found = {"resident": 0.0, "all": 0.0, "weights": 0.0}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) != os.getpid():
                continue
            maps = (status.parent / "smaps").read_text()
        except OSError:
            continue  # it has just ended
        of_weights = False
        for line in maps.splitlines():
            first, *rest = line.split()
            if not first.endswith(":"):
                of_weights = line.endswith(".safetensors")
            elif first == "Pss:":
                found["all"] += int(rest[0]) / 1e3
                found["weights"] += int(rest[0]) / 1e3 if of_weights else 0.0
            elif first == "Rss:":
                found["resident"] += int(rest[0]) / 1e3
    return {name: round(value, 1) for name, value in found.items()}


def _cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures of a measure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--measure",
        choices=("stages", "stitching", "overhead", "sleeping", "workers", "memory", "chunks", "weights"),
        required=True,
    )
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--size", default="", help="WIDTHxHEIGHT; 1280x720, for memory and weights 256x144")
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.05, help="that the segmenter sleeps a frame")
    parser.add_argument("--chunk", type=int, default=48, help="frames of a chunk, for chunks")
    parser.add_argument("--world", type=Path, help="that `videoseg synth` wrote, for chunks; else one is made")
    parser.add_argument("--films", type=Path, default=Path(tempfile.gettempdir()) / "videoseg-films")
    chosen = parser.parse_args(arguments)
    if chosen.measure == "chunks":
        world = chosen.world or chosen.films / "world"
        if not (world / "world.json").exists():
            write_world(world, level="medium", seeds=range(2), frames=144, height=192, width=256)
        json.dump({"chunk": chosen.chunk, **chunked_against_whole(world, chosen.chunk, OVERLAP)}, sys.stdout, indent=2)
        print()
        return
    size = chosen.size or ("256x144" if chosen.measure in ("memory", "weights") else "1280x720")
    width, height = (int(part) for part in size.split("x"))
    chosen.films.mkdir(parents=True, exist_ok=True)
    clip = film(chosen.films / f"{size}-{chosen.frames}.mp4", chosen.frames, width, height)
    settings = RunSettings()
    placement = Placement(executor=chosen.executor, workers=chosen.workers)
    answer: dict[str, Any] = {"measure": chosen.measure, "size": size, "executor": chosen.executor}
    if chosen.measure == "stages":
        costs = stage_costs(clip)
        answer |= {"cpu_ms_per_frame": costs, "in_all": round(sum(costs.values()), 3)}
    elif chosen.measure == "stitching":
        answer |= stitching_cost(clip, max(24, chosen.frames // 4))
    elif chosen.measure == "weights":
        answer |= {"megabytes": weights_memory(clip, chosen.films)}
    elif chosen.measure == "overhead":
        answer |= measure(clip, 0.0, placement, settings).to_json()
    elif chosen.measure == "sleeping":
        # What sleeping alone would take, and how much longer the run took.
        measured = measure(clip, chosen.seconds, placement, replace(settings, frames_per_chunk=10**9))
        added = measured.wall / (measured.frames * chosen.seconds) - 1
        answer |= {**measured.to_json(), "added_percent": round(100 * added, 2)}
    elif chosen.measure == "workers":
        halves = replace(settings, frames_per_chunk=max(1, chosen.frames // 8), overlap=0)
        walls = {
            workers: measure(clip, chosen.seconds, replace(placement, workers=workers, processes=True), halves).wall
            for workers in (1, 2)
        }
        answer |= {
            "wall_s": {str(n): round(wall, 2) for n, wall in walls.items()},
            "times": round(walls[1] / walls[2], 2),
        }
    else:
        measured = measure(clip, 0.0, placement, settings)
        # The first tenth fills buffers, pools and caches of code.
        settled = [megabytes for done, megabytes in measured.rss if done >= chosen.frames // 10]
        answer |= {
            **measured.to_json(),
            "rss_mb": {
                "after a tenth": round(settled[0], 1),
                "highest": round(max(settled), 1),
                "end": round(settled[-1], 1),
            },
            "rss_growth_percent": round(100 * (max(settled) / settled[0] - 1), 2),
        }
    json.dump(answer, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    # Under its own name: what travels to other processes must not be of a module that is called something else there.
    from pipelines.scale_benchmark import main as under_its_name

    under_its_name()
