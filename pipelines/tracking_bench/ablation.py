"""What every part of the tracker is good for: each cost term and each policy off, one after the other."""

from dataclasses import replace

from pipelines.tracking_bench.rows import ONLINE, ORACLE, Row, oracle, ours
from tracking import TrackerSettings

_NONE = TrackerSettings()

WITHOUT: dict[str, TrackerSettings] = {
    "no overlap": replace(_NONE, overlap_weight=1e-6),
    "no embeddings": replace(_NONE, embedding_weight=0.0, contradiction=0.0, refind_likeness=1.0, adopt_hits=0.0),
    "no classes": replace(_NONE, class_weight=0.0),
    "no size and motion": replace(_NONE, size_weight=0.0),
    "one round": replace(_NONE, high_score=0.0),
    "no gallery": replace(_NONE, gallery_size=1),
    "no re-identification": replace(_NONE, refind_likeness=1.0, adopt_hits=0.0),
    "no adoption": replace(_NONE, adopt_hits=0.0),
    "no slivers": replace(_NONE, sliver=0.0),
    "no silhouettes": replace(_NONE, max_silhouettes=0),
    "no velocity": replace(_NONE, velocity_memory=0.99, velocity_seconds=1e-6),
    "no contradiction": replace(_NONE, contradiction=0.0),
    "halves by place only": replace(_NONE, part_likeness=1.0),
    "usual size forgets at once": replace(_NONE, area_memory=0.9),
    "doubtful as strict as before": replace(_NONE, low_accept=0.5),
    "parts are births": replace(_NONE, split_seconds=0.0),
    "patience 0": replace(_NONE, patience=0.0, patience_misses=0),
    "tentative 0": replace(_NONE, tentative_misses=0),
}


def ablation_rows() -> dict[str, Row]:
    """The oracle, ours, ours without motion estimation, and ours without each part."""
    rows: dict[str, Row] = {ORACLE: oracle, ONLINE: ours(), "no motion estimation": ours(with_motion=False)}
    return rows | {name: ours(settings) for name, settings in WITHOUT.items()}


def chunk_rows() -> dict[str, Row]:
    """Ours in one piece, and in chunks that are stitched; both as they are, and with fragments joined at the end.

    600 frames are what runs take by default (videos have to be longer than that to show a difference), 48 are two
    seconds.
    """
    return {
        ORACLE: oracle,
        ONLINE: ours(),
        "ours, refined": ours(refined=True),
        "chunks of 600, overlap 24": ours(chunk=600, overlap=24),
        "chunks of 48, overlap 24": ours(chunk=48, overlap=24),
        "chunks of 48, overlap 24, refined": ours(chunk=48, overlap=24, refined=True),
    }
