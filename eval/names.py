"""What can be measured, and the plain names of the values in JSON."""

from collections.abc import Iterable

from videoseg.errors import InputError

METRICS = {
    "pq": "panoptic quality of single frames: PQ, SQ, RQ, also by size of segments and length of tracks",
    "vpq": "video panoptic quality at every window, and its published means",
    "stq": "segmentation and tracking quality: STQ, AQ, SQ, in deeplab2's and in VIPSeg's encoding",
    "miou": "mean IoU of the categories",
    "hota": "HOTA, DetA, AssA, LocA of things",
    "clear": "MOTSA, sMOTSA, identity switches, fragments, mostly tracked and lost, of things",
    "identity": "IDF1, IDR, IDP of things",
    "mvc": "video consistency",
    "flicker": "how unsteady tracks, labels, areas and pixels are",
    "ap": "average precision of instance tracks as YouTube-VIS has it, from their scores",
    "agreement": "PQ pooled over segments, to compare two runs of which one stands for the truth",
}
"""Metric -> what it is; the words that `--metrics` takes."""

IMAGE_METRICS = ("pq", "miou", "agreement")
"""Those that need no tracks."""
PANOPTIC_METRICS = ("pq", "vpq", "stq", "miou", "hota", "clear", "identity", "mvc", "flicker")
"""What is measured where every pixel is labelled, unless asked otherwise."""
INSTANCE_METRICS = ("pq", "vpq", "hota", "clear", "identity", "flicker", "ap")
"""What is measured where only things are labelled, unless asked otherwise."""

VALUES = {
    "pq, sq, rq": "of single frames; fractions, as all but counts are",
    "pq.size.small|medium|large": "of segments below 32², 96² pixels and above",
    "pq.length.short|medium|long": "of tracks seen in up to 8, up to 32 and more frames",
    "vpq.<k>": "at a window of k frames (1, 2, 4, 6, 8, or those of --windows)",
    "vpq.mean_1246, vpq.mean_12468, vpq.mean_1234": "means over windows: papers, VIPSeg's script, Cityscapes-VPS",
    "vpq_clip.<k>, vpq_clip.mean_…": "the same where videos shorter than k count with one window of their length",
    "….things, ….stuff": "PQ and VPQ over these categories only",
    "stq, aq, stq_sq": "in deeplab2's encoding (crowds by their flag)",
    "stq_vipseg, aq_vipseg, stq_sq_vipseg": "in the encoding of VIPSeg's script (the first listed id is a crowd)",
    "aq.length.short|medium|long": "AQ of ground-truth tracks by length",
    "miou": "mean over the categories, void never one of them",
    "hota, deta, assa, loca": "all things as one class, mean over 19 thresholds",
    "hota.class_averaged, hota.detection_averaged": "each category its own class",
    "motsa, smotsa": "at IoU 0.5, all things as one class",
    "id_switches, fragments": "counts",
    "mostly_tracked, partly_tracked, mostly_lost": "true tracks found in > 80 %, between, < 20 % of their frames",
    "idf1, idr, idp": "at IoU 0.5, all things as one class",
    "mvc.<n>": "video consistency over n frames: 2, 4, 8, 16",
    "flicker.id": "short-lived tracks per 100 frames",
    "flicker.label": "changes of category per step of a track",
    "flicker.area": "median size of the logarithm of area ratios between frames, of matched tracks",
    "flicker.pixel": "share of pixels that change, less that of the ground truth",
    "ap, ap50, ap75, ap.small|medium|large": "mean over IoU 0.50:0.95, at 0.50, at 0.75, by mean area of tracks",
    "ar1, ar10, ar100": "average recall with so many tracks a video",
    "agreement.segments|frames|worst": "pooled PQ: over all segments; mean and worst 5 % of frames",
}
"""Names of values -> what they are."""


def chosen_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics of these names, in our order; InputError for an unknown one."""
    asked = [name.strip().lower() for name in names if name.strip()]
    for name in asked:
        if name not in METRICS:
            raise InputError(f"There is no metric {name!r}. There are: {', '.join(METRICS)}.")
    if not asked:
        raise InputError(f"No metric is named. There are: {', '.join(METRICS)}.")
    return tuple(name for name in METRICS if name in asked)
