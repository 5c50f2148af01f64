"""One model for several streams: who meets whom, what comes out, and who is to blame when something fails."""

import gc
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import moving_shapes
import numpy as np
import pytest
from command_lines import run_many
from test_scale import PRODUCTS, SETTINGS, checksums, job, run
from troubled_parts import Trouble, Troubled

from pipelines.executors import WorkerLost
from pipelines.jobs import segment_job
from pipelines.run import ChunksSetAside, run_job
from pipelines.settings import Placement
from pipelines.shared_segmenter import ACTIVE, PATIENCE, SharedModel, SharedSegmenter, ShareSegmenter
from videoseg.errors import InputError
from videoseg.store.reader import open_run


@pytest.fixture(scope="module")
def unbroken(film: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    run(film, folder, Placement(executor="inline"))
    return checksums(folder)


@dataclass
class Counts:
    done: dict[str, int]

    def total(self) -> "Counts":
        return self

    def to_json(self) -> dict[str, int]:
        return dict(self.done)


@dataclass
class Slow:
    """A segmenter of numbers: gives each frame back, and notes who came together and in which thread."""

    seconds: float = 0.0
    met: list[list[int]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    ledger: Counts = field(default_factory=lambda: Counts({"windows": 0}))

    def __post_init__(self) -> None:
        self.threads.add(threading.get_ident())

    def segment(self, frames: Sequence[int], motions: Sequence[None], states: Sequence[None]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.met.append(list(frames))
        time.sleep(self.seconds)
        if any(frame < 0 for frame in frames):
            raise LookupError("a frame below zero")
        self.ledger = Counts({"windows": self.ledger.done["windows"] + 7})
        return list(frames)


def stream(share: SharedSegmenter, numbers: Sequence[int]) -> list[int]:
    return [share.segment([n], [None], [None])[0] for n in numbers]  # type: ignore[list-item,misc]


def test_streams_meet_and_each_gets_its_own() -> None:
    model = SharedModel(lambda: Slow(seconds=0.02))
    inner = model.segmenter
    assert isinstance(inner, Slow)
    shares = [SharedSegmenter(model) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        given = [range(100 * k, 100 * k + 20) for k in range(3)]
        got = list(pool.map(stream, shares, given))
    assert got == [list(numbers) for numbers in given]
    # The first may begin alone; then they wait for each other, as long as the machine lets them come in time.
    assert model.batches[3] >= 5
    assert all(sorted(batch) == batch for batch in inner.met), "always in the order of streams"
    assert len(inner.threads) == 1, "made and used in a thread of its own"
    assert threading.get_ident() not in inner.threads
    assert sum(share.work["windows"] for share in shares) == 7 * len(inner.met)
    assert max(share.work["windows"] for share in shares) - min(share.work["windows"] for share in shares) <= 20


def test_who_is_gone_is_not_waited_for() -> None:
    model = SharedModel(Slow)
    first, second = SharedSegmenter(model), SharedSegmenter(model)
    stream(second, [1])
    began = time.monotonic()
    stream(first, [1])
    assert time.monotonic() - began >= PATIENCE
    time.sleep(ACTIVE)
    stream(first, [1])
    inner = model.segmenter
    assert isinstance(inner, Slow)
    assert [len(batch) for batch in inner.met] == [1, 1, 1]
    waited = []
    for number in range(20):
        began = time.monotonic()
        stream(first, [number])
        waited.append(time.monotonic() - began)
    assert min(waited) < PATIENCE, "nobody else is there"


def test_a_failure_alone_is_its_own_and_one_together_is_a_loss() -> None:
    model = SharedModel(lambda: Slow(seconds=0.05))
    first, second = SharedSegmenter(model), SharedSegmenter(model)
    with pytest.raises(LookupError, match="below zero"):
        stream(first, [-1])
    stream(second, [5])
    with ThreadPoolExecutor(2) as pool:
        lost = [pool.submit(stream, share, [number]) for share, number in ((first, -2), (second, 6))]
        for future in lost:
            with pytest.raises(WorkerLost, match=r"batch of 2 streams .*below zero"):
                future.result()
    assert stream(second, [7]) == [7], "the model goes on"


def test_a_model_is_loaded_once_and_goes_with_its_last_stream() -> None:
    made: list[Slow] = []

    def make() -> Slow:
        made.append(Slow())
        return made[-1]

    shares = [ShareSegmenter(make, "a")() for _ in range(3)]  # type: ignore[arg-type]
    assert len(made) == 1
    other = ShareSegmenter(make, "b")()  # type: ignore[arg-type]
    assert len(made) == 2
    del shares
    gc.collect()
    ShareSegmenter(make, "a")()  # type: ignore[arg-type]
    assert len(made) == 3
    del other


@pytest.mark.parametrize(
    ("executor", "workers", "streams"),
    [
        ("local", 1, 3),
        pytest.param("local", 2, 2, marks=pytest.mark.full),
        ("ray", 1, 2),
        pytest.param("ray", 2, 2, marks=pytest.mark.full),
    ],
)
def test_shared_models_give_the_bytes_of_one_thread(
    request: pytest.FixtureRequest,
    film: Path,
    unbroken: dict[str, str],
    tmp_path: Path,
    executor: str,
    workers: int,
    streams: int,
) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    placement = Placement(executor=executor, workers=workers, streams_per_worker=streams)
    finished = run(film, tmp_path / "run", placement, "segment", Trouble(seconds=(0.0, 0.02, 0.0, 0.004)))
    assert checksums(tmp_path / "run") == unbroken
    assert finished.complete


@pytest.mark.parametrize("executor", [pytest.param("local", marks=pytest.mark.full), "ray"])
def test_streams_that_share_a_worker_die_together_and_only_the_guilty_is_set_aside(
    request: pytest.FixtureRequest, film: Path, unbroken: dict[str, str], tmp_path: Path, executor: str
) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    marks = tmp_path / "marks"
    marks.mkdir()
    placement = Placement(executor=executor, workers=1, streams_per_worker=2, processes=executor == "local" or None)
    made = replace(
        job(film, placement),
        make_segmenter=Troubled(
            job(film, placement).make_segmenter, Trouble(at=31, marks=str(marks), times=9), "segment"
        ),
    )
    with pytest.raises(ChunksSetAside, match=r"1 of 4 chunks .*chunk 1 \(frames 20 to 39"):
        run_job(made, tmp_path / "run", placement=placement, products=PRODUCTS)
    there = open_run(tmp_path / "run")
    assert [chunk.number for chunk in there.chunks] == [0, 2, 3]
    shards = {name: digest for name, digest in checksums(tmp_path / "run").items() if name[:13] != "chunks/00001/"}
    of_chunks = {name for name in unbroken if name.startswith("chunks/") and name[:13] != "chunks/00001/"}
    assert {name: shards[name] for name in of_chunks} == {name: unbroken[name] for name in of_chunks}


def test_the_small_model_gives_the_same_bytes_to_streams_that_share_it(film: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, frames_per_chunk=4, overlap=1, end=0.5)
    found = []
    for name, placement in (
        ("alone", Placement(executor="inline", threads=1)),
        ("shared", Placement(executor="local", streams_per_worker=3, threads=1)),
    ):
        made = segment_job(film, moving_shapes.vocabulary(), model="small", settings=settings, placement=placement)
        done = run_job(made, tmp_path / name, placement=placement, products=PRODUCTS)
        found.append((checksums(tmp_path / name), done.report["work"]))
    assert found[0] == found[1]
    assert found[0][1]["windows"] > 0


def test_streams_are_asked_for_on_the_command_line(film: Path, tmp_path: Path) -> None:
    words = ["segment", str(film), "--vocab", moving_shapes.THINGS, "--model", "colours", "--no-overlay"]
    (good, bad), _ = run_many(
        [
            [*words, "-o", str(tmp_path / "good"), "--streams-per-worker", "2"],
            [*words, "-o", str(tmp_path / "bad"), "--streams-per-worker", "0"],
        ]
    )
    assert good.code == 0, good.err
    assert bad.code == 2
    assert "--streams-per-worker" in bad.err
    with pytest.raises(InputError, match="--executor inline"):
        Placement(executor="inline", streams_per_worker=2)


def test_what_came_out_is_what_went_in() -> None:
    """Results of streams with several frames at a time are cut where they belong."""
    model = SharedModel(lambda: Slow(seconds=0.02))
    shares = [SharedSegmenter(model) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(share.segment, numbers, [None] * len(numbers), [None] * len(numbers))  # type: ignore[arg-type]
            for share, numbers in zip(shares, ([1, 2, 3], [7]), strict=True)
        ]
    assert [future.result() for future in futures] == [[1, 2, 3], [7]]
    assert np.sum([count * size for size, count in model.batches.items()]) == 2
