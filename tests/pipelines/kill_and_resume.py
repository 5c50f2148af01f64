"""Kills the driver of a run again and again, resumes it, and says whether the result has the bytes of an unbroken run.

A script, because each victim is a fork of it, and only a process without threads can be forked safely:

    python kill_and_resume.py CLIP FOLDER '{"points": ["after commit:1"], "seeds": [0, 1], "workers": [1, 2]}'

Prints a JSON object: for each point and seed how often the run was killed, and whether the bytes are the same.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving_shapes
from troubled_parts import Trouble, Troubled

from pipelines.jobs import segment_job
from pipelines.run import Resuming, run_job
from pipelines.settings import Placement, Products, RunSettings

SETTINGS = RunSettings(frames_per_chunk=20, overlap=8)
PRODUCTS = Products(overlay=False, exports=("burst",))


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def files(folder: Path) -> int:
    """Of chunks, begun ones included."""
    return sum(1 for _ in folder.glob("chunks/*/*"))


def go(clip: Path, folder: Path, placement: Placement, seconds: float = 0.0) -> None:
    job = segment_job(clip, moving_shapes.vocabulary(), model="colours", settings=SETTINGS, placement=placement)
    if seconds:
        slow = Troubled(job.make_segmenter, Trouble(seconds=(seconds,)), "segment")
        job = replace(job, make_segmenter=slow)
    run_job(job, folder, placement=placement, products=PRODUCTS, resume=Resuming())


def in_a_fork(clip: Path, folder: Path, placement: Placement, seconds: float, crash_at: str = "") -> int:
    """Starts a run in a process of its own; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if crash_at:
            os.environ["VIDEOSEG_CRASH_AT"] = crash_at
        go(clip, folder, placement, seconds)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    clip, root = Path(sys.argv[1]), Path(sys.argv[2])
    wanted = json.loads(sys.argv[3])
    unbroken = root / "unbroken"
    os.waitpid(in_a_fork(clip, unbroken, Placement(executor="inline"), 0.0), 0)
    reference = checksums(unbroken)
    answers = {}
    for point in wanted.get("points", []):
        folder = root / point.replace(" ", "-").replace(":", "-")
        _, status = os.waitpid(in_a_fork(clip, folder, Placement(executor="inline"), 0.0, point), 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        _, status = os.waitpid(in_a_fork(clip, folder, Placement(executor="local"), 0.0), 0)
        answers[point] = {"kills": int(killed), "same": status == 0 and checksums(folder) == reference}
    for seed in wanted.get("seeds", []):
        rng = random.Random(seed)
        folder = root / f"seed-{seed}"
        kills, status = 0, 1
        while status != 0 and kills < 40:
            workers = rng.choice(wanted.get("workers", [1]))
            pid = in_a_fork(clip, folder, Placement(executor="local", workers=workers), wanted.get("seconds", 0.004))
            # Not after so much time, which is another moment on every machine, but after so much work.
            target = files(folder) + rng.randint(0, 6)
            found = 0
            while found == 0 and files(folder) < target:
                found, status = os.waitpid(pid, os.WNOHANG)
                time.sleep(0.005)
            if found == 0:
                time.sleep(rng.uniform(0, 0.1))
                found, status = os.waitpid(pid, os.WNOHANG)
            if found == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                kills, status = kills + 1, 1
            elif status != 0:
                break
        answers[f"seed {seed}"] = {"kills": kills, "same": status == 0 and checksums(folder) == reference}
    print(json.dumps({"files": len(reference), "answers": answers}))


if __name__ == "__main__":
    main()
