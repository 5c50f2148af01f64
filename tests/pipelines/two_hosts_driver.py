"""The driver of a run on a cluster of two hosts; a script, because it runs in a network namespace of its own:

python two_hosts_driver.py CLIP FOLDER ADDRESS
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving_shapes
from troubled_parts import Trouble, Troubled

from pipelines.jobs import segment_job
from pipelines.run import run_job
from pipelines.settings import Placement, Products, RunSettings


def main() -> None:
    clip, folder, address = sys.argv[1:]
    settings = RunSettings(frames_per_chunk=10, overlap=4)
    placement = Placement(executor="ray", workers=2, address=address, start_seconds=300)
    job = segment_job(clip, moving_shapes.vocabulary(), model="colours", settings=settings, placement=placement)
    slow = Troubled(job.make_segmenter, Trouble(seconds=(0.2,)), "segment")
    job = replace(job, make_segmenter=slow)
    run = run_job(job, folder, placement=placement, products=Products(overlay=False))
    print(json.dumps({"complete": run.complete, "restarts": run.report["restarts"], "notes": run.report["notes"]}))


if __name__ == "__main__":
    main()
