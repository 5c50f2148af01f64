"""`TrackerSettings`: every number that the tracker goes by, with the reason beside it."""

from dataclasses import dataclass

from videoseg.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """Thresholds and weights of the tracker. Times are in seconds of the stream: rate and sampling matter little.

    Raises:
        InputError: a number outside its range.
    """

    # Where overlap is measured

    overlap_side: int = 960
    """The longer side of the maps on which overlap is measured, at most, in samples. 960 takes every second row and
    column of 1920×1080: a fourth of the work, and a segment of 8×8 pixels still has 16 samples."""

    # The cost: one minus the weighted mean of what is known of a pair

    overlap_weight: float = 0.5
    """Weight of mask overlap. At video rate it is the most telling cue, so it weighs as much as the other two."""
    embedding_weight: float = 0.35
    """Weight of embedding likeness. Enough that two objects that swap places keep their ids: for a pair with overlap
    0.6, the true partner's 0.35 outweighs the stranger's 0.5·0.6 once classes agree."""
    class_weight: float = 0.15
    """Weight of class likeness. It breaks ties; labels flicker, so alone it never decides."""
    size_weight: float = 0.1
    """Weight of size and place. It tells a whole object from a fragment of it, and the one that moves on as before from
    one that doesn't; occlusion changes both, so it weighs least."""
    high_score: float = 0.5
    """Segments of this score and more choose their tracks first; the others get what is left. Half is where a
    calibrated segmenter is right as often as wrong. Scores that are all equal make one round."""
    low_accept: float = 0.4
    """Least likeness of a pair with a segment of low confidence, which must lie where the track was: more than
    `accept`, because many such segments are false, but what is half hidden is doubtful, too (0.5 loses 0.4 points of
    AssA at 20 % drops and 1.2 at 40 %)."""
    accept: float = 0.33
    """Least likeness of a pair, in [0, 1]; chosen on development videos of the tracking benchmark (AssA at 20 % drops
    is 96.4 % of the oracle's at 0.40, 97.7 % at 0.33, 97.8 % at 0.28, but at 40 % drops 95.5, 95.5 and 95.2 %). Without
    embeddings and with equal classes and sizes the gate of overlap decides, with contradicting classes an overlap (IoU)
    of 0.3; with good embeddings an object that jumped clear of its old mask still passes."""
    overlap_gate: float = 0.05
    """Pairs with less overlap (IoU) than this are considered only if the embedding and the place allow it. Below it,
    neighbours that touch through boundary noise would all become candidates."""
    place_gate: float = 1.0
    """How far from its predicted centre an object that does not overlap its old mask may be found, in diagonals of
    its box: one diagonal is the farthest that two boxes of its size can be apart and still touch."""
    size_gate: float = 4.0
    """How many times larger than its track a segment that does not overlap it may be: perspective rarely makes an area
    fourfold between two sightings, segments that swallow several objects do. Smaller it may be by any factor: what
    comes out from behind something begins as a sliver."""

    # Embeddings

    contrast_frames: float = 50.0
    """Memory, in frames, of the mean cosine between different segments of one frame. Likeness is measured from that
    mean (cosine 0.6 can mean 'stranger' in one embedding and 'same' in another); two seconds of video settle it."""
    embedding_memory: float = 0.9
    """How much of a track's mean embedding a new sighting leaves: ten sightings, enough to average noise away and
    short enough to follow a turning object."""
    area_memory: float = 0.98
    """How much of a track's usual area a smaller sighting leaves (larger ones leave `embedding_memory`): fifty
    sightings, because what passes behind something is small for a second or two without having shrunk. A track that
    takes itself for a sliver is not found again at its full size (`size_gate`): with 0.9, AssA at 20 % drops was 0.9
    points lower."""
    clear_view: float = 0.5
    """Sightings with less than this share of the track's usual area are not learnt from: they show the occluder."""
    gallery_size: int = 8
    """Embeddings kept per track: front, back, sides, near, far. The results on disk keep as many."""
    gallery_novelty: float = 0.1
    """One minus the cosine above which a sighting is new enough to go into the gallery."""
    refind_likeness: float = 0.5
    """Least embedding likeness (see `contrast_frames`) at which a lost track is re-found: half way between a stranger
    and a perfect match."""
    contradiction: float = 0.2
    """A track that is missing is not taken for a segment at its expected place whose embedding is less like it than
    this: that is a stranger who came to the same place. A fifth of the way from stranger to match leaves room for
    noisy embeddings. What was there in the frame before is believed to be there still, whatever it looks like."""
    adopt_hits: float = 12.0
    """Sightings within which a young track may still turn out to be one that was missing. What comes out from behind
    something shows little of itself at first; after half a second its mean embedding says who it is."""
    adopt_likeness: float = 0.6
    """Embedding likeness that this takes: more than for a single sighting, because a mean has less noise."""
    sliver: float = 0.6
    """Overlap that counts for a segment that lies wholly within the predicted mask of a missing track, however small
    it is: what comes out from behind something begins as a sliver."""
    refind_deviations: float = 2.5
    """And the cosine must lie so many standard deviations above that of strangers: 0.6 % of a normal tail."""

    # Life cycle

    confirm_hits: int = 3
    """Sightings that make a track confirmed. False segments rarely live three frames; published trackers
    take 2 or 3."""
    tentative_misses: int = 5
    """Frames in a row that a tentative track may be missing. Misses come in bursts: where they last two frames on
    average, one in four lasts longer than 2, one in thirty longer than 5. A false track does little harm in the
    meantime, having looks of its own (2 loses 0.1 points of AssA at 20 % drops and 1.2 at 40 %)."""
    patience: float = 0.5
    """Seconds that a confirmed track may be missing before it is called lost: shorter gaps are the segmenter's."""
    patience_misses: int = 2
    """And at least so many frames, for low rates."""
    silhouette_seconds: float = 3.0
    """How long the last mask of a missing track is moved along and compared: occlusions by a passing object last up to
    about 3 s; later the prediction says nothing about the mask any more."""
    silhouette_fade: float = 2.0
    """Seconds after which overlap with such a mask counts 1/e: the prediction drifts by about the object's size."""
    max_silhouettes: int = 64
    """Masks of missing tracks kept at most (the newest): at 1920×1080 at most half a megabyte
    each (a mask as large as the picture), some kilobytes usually."""
    velocity_memory: float = 0.7
    """How much of a track's velocity a new sighting leaves: three sightings."""
    velocity_seconds: float = 1.0
    """A missing object is moved on by at most this many seconds of its velocity (exponentially slowing): it may have
    stopped behind the occluder, and its reach grows anyway."""
    stable_size: float = 0.1
    """Velocity is learnt only between boxes whose sides changed by less than this share: a box that is being covered
    moves its centre without moving."""
    reach_seconds: float = 10.0
    """Seconds after which a lost track may be re-found anywhere in the picture: most things cross it in that time."""
    memory_seconds: float = 120.0
    """Seconds after which a lost track ends. Returns after minutes are worth having; after that strangers that look
    alike become likelier than the object itself."""
    max_lost: int = 1000
    """Lost tracks kept at most (the longest gone end first): 8 MB of embeddings of 256 numbers."""

    # Splits, merges, duplicates

    explained_share: float = 0.7
    """A segment of which this share lies on a live track that was seen in this frame already is taken for a part of
    it, not for a birth, unless its embedding says otherwise: 0.5 would take in neighbours through boundary noise and
    motion, 1 would miss fragments that noise moves over the edge."""
    explained_growth: float = 1.4
    """With its part a track may be so many times as large as before: more is something new beside it."""
    part_likeness: float = 0.7
    """Or it lies beside the track's segment, looks that much like the track, and the two together are no larger than
    the track usually is times `explained_growth`: a half of something that was missing a frame ago."""
    split_seconds: float = 0.4
    """How long a track may come in parts before the parts become tracks: segmenters split for some frames, objects for
    good."""
    merged_share: float = 0.7
    """A missing track is taken to have merged into another if that one's segment covers this share of its last mask,
    and has grown by as much."""

    # Output

    fill_seconds: float = 0.0
    """How long a confirmed track that is missing is drawn on, moved as predicted, where pixels belong to nobody. Off:
    the segmenter's word stands. Files with delayed output fill half a second and take back what did not return."""

    # Category by evidence

    evidence_memory: float = 0.98
    """How much of a track's class evidence a new sighting leaves: fifty sightings outvote a flicker of a second, and a
    wrong start is mended within about as long."""
    evidence_margin: float = 1.1
    """A track's category changes when the evidence for another is larger by this factor: at a tie nothing flickers."""
    evidence_sharpness: float = 2.0
    """Power to which shares of the evidence are raised to give probabilities: 1 is right where all sightings repeat one
    mistake, more where they err independently. On 3,916 segments of six development videos at 20 % drops, where labels
    err independently, 1 is far too modest (mean probability 0.78 where 0.997 are right: calibration error 0.21, log
    loss 0.25), and 3 is calibrated (0.001, 0.012). Networks repeat their mistakes, so 2 keeps a distance (0.011,
    0.021). `python -m pipelines.tracking_bench.calibration`."""
    evidence_categories: int = 16
    """Categories kept per track: three times what a segment brings (5), so that a second choice is not forgotten."""

    def __post_init__(self) -> None:
        for name in (
            "embedding_memory",
            "area_memory",
            "velocity_memory",
            "evidence_memory",
            "clear_view",
            "stable_size",
        ):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"The tracker setting {name} must be in [0, 1), got {getattr(self, name)}.")
        for name in (
            "accept", "overlap_gate", "refind_likeness", "contradiction", "gallery_novelty", "low_accept",
            "high_score", "explained_share", "part_likeness", "merged_share", "adopt_likeness", "sliver",
        ):  # fmt: skip
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"The tracker setting {name} must be in [0, 1], got {getattr(self, name)}.")
        for name in ("overlap_side", "gallery_size", "confirm_hits", "evidence_categories"):
            if getattr(self, name) < 1:
                raise InputError(f"The tracker setting {name} must be at least 1, got {getattr(self, name)}.")
        for name in (
            "tentative_misses", "patience", "patience_misses", "silhouette_seconds", "max_silhouettes", "max_lost",
            "memory_seconds", "place_gate", "refind_deviations", "embedding_weight", "class_weight",
            "size_weight", "split_seconds", "adopt_hits", "fill_seconds",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise InputError(f"The tracker setting {name} must not be negative, got {getattr(self, name)}.")
        for name in (
            "overlap_weight", "contrast_frames", "silhouette_fade", "velocity_seconds", "reach_seconds",
            "evidence_sharpness",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise InputError(f"The tracker setting {name} must be positive, got {getattr(self, name)}.")
        for name in ("size_gate", "evidence_margin", "explained_growth"):
            if getattr(self, name) < 1:
                raise InputError(f"The tracker setting {name} is a ratio of at least 1, got {getattr(self, name)}.")
