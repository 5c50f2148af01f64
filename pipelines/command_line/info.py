"""`videoseg info`: what a source is, before anything runs on it."""

from dataclasses import asdict
from fractions import Fraction
from typing import Annotated, Any

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose
from videoseg.protocols import SourceInfo


def info(
    source: Annotated[str, typer.Argument(help="A video file or a folder of images.", show_default=False)],
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """What a file is: frames, rate, rotation, colour, oddities.

    Frames are counted from the packets, not taken from the header, which is often wrong.

    **Example:** `videoseg info walk.mp4`
    """
    console.set_verbosity(verbose)
    from videoseg.video import probe

    found = probe(source)
    if as_json:
        console.print_json(_json_ready(found))
        return
    print(console.table(_rows(found)))
    for oddity in found.oddities:
        print(f"  * {oddity}")


def _rows(found: SourceInfo) -> dict[str, object]:
    unknown = "unknown"
    rate = unknown if found.rate is None else f"{float(found.rate):.3f} frames/s".replace(".000", "")
    if found.variable_rate:
        rate += ", variable"
    rows: dict[str, object] = {
        "source": found.stream,
        "kind": " ".join(filter(None, (found.kind, found.container))),
        "picture": f"{found.width}×{found.height}",
        "frames": unknown if found.num_frames is None else found.num_frames,
        "rate": rate,
        "duration": unknown if found.duration is None else f"{found.duration:.3f} s",
        "codec": f"{found.codec} {found.pixel_format}, {found.bit_depth} bits",
        "colour": ", ".join(
            filter(
                None, (found.colour_matrix, found.colour_range and f"{found.colour_range} range", found.colour_transfer)
            )
        ),
        "rotation": f"{found.rotation}°" if found.rotation else "",
        "pixel aspect": f"{found.sample_aspect_ratio}" if found.sample_aspect_ratio != 1 else "",
        "interlaced": "yes" if found.interlaced else "",
        "oddities": len(found.oddities) or "none",
    }
    return {key: value for key, value in rows.items() if value != ""}


def _json_ready(found: SourceInfo) -> dict[str, Any]:
    data = asdict(found)
    for key, value in data.items():
        if isinstance(value, Fraction):
            data[key] = {"numerator": value.numerator, "denominator": value.denominator, "value": float(value)}
    return data
