"""`data_set`: what is measured how on which data set, as data.

    convention = data_set("vipseg")
    convention.metrics, convention.windows, convention.headline

Every number here is a convention of somebody's script or paper; the docstring of its field and `notes` say which. Where
a data set has no convention for what we can measure, nothing is invented.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from eval.panoptic_quality import ShortVideos
from videoseg import label_sets
from videoseg.errors import InputError
from videoseg.vocabulary import Category, Vocabulary

Kind = Literal["panoptic video", "semantic video", "instances in videos", "panoptic images", "semantic images"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """The conventions of one data set."""

    name: str
    title: str
    kind: Kind
    formats: tuple[str, ...]
    """Names of formats in `videoseg.formats` in which it is published or mostly stored."""
    label_set: str | None
    """Name in `videoseg.label_sets`; None where the categories are in the files only."""
    metrics: tuple[str, ...]
    """What is measured by convention; words of `eval.names.METRICS`."""
    headline: tuple[str, ...]
    """The values that papers quote, most important first; names of `eval.names.VALUES`."""
    source: str
    """Where it is defined."""
    licence: str
    """Of the annotations, as published; look there before you rely on it."""
    num_categories: int | None = None
    """As published, for categories that are in the files only."""
    things: frozenset[str] | None = None
    """Names of the categories whose instances are told apart; None means those of the label set."""
    all_stuff: bool = False
    """Whether it has no (official) split into things and stuff, so that no category is a thing."""
    left_out: frozenset[str] = frozenset()
    """Names of categories of the label set that it does without."""
    ignore_labels: tuple[int, ...] = ()
    """Numbers of pixels that count for nothing, in its pictures of numbers."""
    label_offset: int = 0
    """Number of the first category in its pictures of numbers."""
    windows: tuple[int, ...] = ()
    """Windows of VPQ, in annotated frames; VPQ is the mean over them."""
    frames_between: int = 1
    """Frames of the video from one annotated frame to the next."""
    consistency_windows: tuple[int, ...] = ()
    """Windows of mVC in frames."""
    short_videos: ShortVideos = "skip"
    """What VPQ does with videos shorter than a window; `skip` is what the scripts of VPSNet and VIPSeg do."""
    not_measured: tuple[str, ...] = ()
    """Official metrics that we don't have."""
    notes: tuple[str, ...] = field(default=())
    """What a person should know before comparing numbers."""

    def vocabulary(self) -> Vocabulary | None:
        """The categories in the order of their numbers, with its things; None where only the files have them."""
        if self.label_set is None:
            return None
        rows = label_sets.rows(self.label_set)
        return Vocabulary.of(
            [
                (
                    row.names,
                    not self.all_stuff and (row.is_thing if self.things is None else row.names[0] in self.things),
                )
                for row in rows
                if row.names[0] not in self.left_out
            ]
        )

    @property
    def published_windows(self) -> Mapping[int, int]:
        """Window in annotated frames -> the number that papers call it by.

        Cityscapes-VPS counts frames of the video from the first to the last annotated one: 0, 5, 10, 15.
        """
        if self.frames_between == 1:
            return {window: window for window in self.windows}
        return {window: self.frames_between * (window - 1) for window in self.windows}

    def with_words(self, categories: Vocabulary) -> Vocabulary:
        """The categories of a file of this data set, with the words of the label set as further names.

        Files spell names in their own way (`sky-other-merged`), label sets in plain words (`sky`); with both, what is
        predicted in either is found. Categories are matched by their place, as both are in the order of the ids.

        Raises:
            InputError: the file has not the categories of this data set.
        """
        known = self.vocabulary()
        if known is None:
            return categories
        if not _same_categories(categories, known):
            raise InputError(
                f"The categories are not those of {self.title}: {len(categories)}, beginning with "
                f"{', '.join(category.name for category in categories.categories[:3])}; it has {len(known)}, beginning "
                f"with {', '.join(category.name for category in known.categories[:3])}."
            )
        return Vocabulary(
            tuple(
                Category(
                    names=tuple(dict.fromkeys((*ours.names, *theirs.names))),
                    is_thing=ours.is_thing,
                    colour=ours.colour,
                )
                for ours, theirs in zip(categories, known, strict=True)
            )
        )


def data_set(name: str) -> DataSet:
    """The data set of that name; case, `-`, `_` and spaces do not matter.

    Raises:
        InputError: there is none; it lists those that there are.
    """
    found = {_plain(each.name): each for each in _ALL}
    plain = _plain(_OTHER_NAMES.get(_plain(name), name))
    if plain not in found:
        raise InputError(f"There is no data set {name!r}. There are: {', '.join(each.name for each in _ALL)}.")
    return found[plain]


def data_sets() -> tuple[DataSet, ...]:
    """All data sets: videos first, then images."""
    return _ALL


def recognise_data_set(format: str, categories: Vocabulary) -> DataSet | None:
    """The data set that files of this format with these categories are of.

    Args:
        format: name of the format.
        categories: of the file, in its order.

    Returns:
        None where none fits, or several do. A data set whose categories are in its files only fits by their number.
    """
    fitting = []
    for each in _ALL:
        if format in each.formats:
            known = each.vocabulary()
            if (known is not None and _same_categories(categories, known)) or (
                known is None and each.num_categories in (None, len(categories))
            ):
                fitting.append(each)
    return fitting[0] if len(fitting) == 1 else None


def _same_categories(found: Vocabulary, known: Vocabulary) -> bool:
    """Whether they are as many, and four in five share a word at their place.

    Things are not compared: read from class numbers alone, no category is one.
    """
    shared = [bool(_words(ours.names) & _words(theirs.names)) for ours, theirs in zip(found, known, strict=False)]
    return len(found) == len(known) and sum(shared) >= 0.8 * len(known)


def _words(names: tuple[str, ...]) -> set[str]:
    return {word for name in names for word in re.split(r"[^a-z0-9]+", name.casefold()) if word}


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]+", "", name.casefold())


_TRACKING = ("hota", "clear", "identity")
_KITTI = "CC BY-NC-SA 3.0 (KITTI)"
_CITYSCAPES = "Cityscapes licence: non-commercial"
_NO_SPLIT = "there is no official split into things and stuff: all is stuff, and only mIoU means something"

_ALL = (
    DataSet(
        name="vipseg",
        title="VIPSeg",
        kind="panoptic video",
        formats=("vipseg",),
        label_set="vipseg",
        metrics=("vpq", "stq"),
        headline=("vpq.mean_1246", "vpq.1", "vpq.2", "vpq.4", "vpq.6", "stq_vipseg"),
        ignore_labels=(0,),
        label_offset=1,  # of the raw panomasks; the JSON counts categories from 0
        windows=(1, 2, 4, 6),
        notes=(
            "papers average VPQ over windows of 1, 2, 4 and 6 frames; the script in use loops over 1, 2, 4, 6 and 8 "
            "and averages all five (vpq.mean_12468)",
            "STQ of its script takes the first listed category for a crowd where that is a thing (stq_vipseg)",
        ),
        source="Miao et al., CVPR 2022; https://github.com/VIPSeg-Dataset/VIPSeg-Dataset",
        licence="non-commercial research",
    ),
    DataSet(
        name="cityscapes_vps",
        title="Cityscapes-VPS",
        kind="panoptic video",
        formats=("cityscapes_vps",),
        label_set="cityscapes",
        metrics=("vpq",),
        headline=("vpq.1", "vpq.2", "vpq.3", "vpq.4"),
        ignore_labels=(255,),
        windows=(1, 2, 3, 4),
        frames_between=5,
        notes=(
            "every fifth frame is annotated; its windows are called 0, 5, 10 and 15 after the frames of the video that "
            "they span, which are 1 to 4 annotated frames; VPQ is the mean of the four",
        ),
        source="Kim et al., CVPR 2020; https://github.com/mcahny/vps",
        licence=f"{_CITYSCAPES}; code CC BY-NC-SA 4.0",
    ),
    DataSet(
        name="kitti_step",
        title="KITTI-STEP",
        kind="panoptic video",
        formats=("kitti_step",),
        label_set="cityscapes",
        things=frozenset({"person", "car"}),
        metrics=("stq",),
        headline=("stq", "aq", "stq_sq"),
        ignore_labels=(255,),
        notes=("of the 19 classes of Cityscapes only person and car are tracked; all others are stuff",),
        source="Weber et al., NeurIPS 2021; https://github.com/google-research/deeplab2/blob/main/g3doc/setup/kitti_step.md",
        licence=_KITTI,
    ),
    DataSet(
        name="vspw",
        title="VSPW",
        kind="semantic video",
        formats=("vspw",),
        label_set="vipseg",
        all_stuff=True,
        metrics=("miou", "mvc"),
        headline=("miou", "mvc.8", "mvc.16"),
        ignore_labels=(0, 255),
        label_offset=1,
        consistency_windows=(8, 16),
        not_measured=("TC, which needs optical flow", "weighted IoU"),
        notes=("its script leaves out the last window of mVC, and videos not longer than the window",),
        source="Miao et al., CVPR 2021; https://github.com/VSPW-dataset/VSPW_baseline",
        licence="non-commercial research",
    ),
    DataSet(
        name="youtube_vis_2019",
        title="YouTube-VIS 2019",
        kind="instances in videos",
        formats=("youtube_vis",),
        label_set="youtube-vis-2019",
        metrics=("ap",),
        headline=("ap", "ap50", "ap75", "ar1", "ar10"),
        notes=("the ground truth of valid and test is on a server only",),
        source="Yang et al., ICCV 2019; https://youtube-vos.org/dataset/vis/",
        licence="CC BY 4.0",
    ),
    DataSet(
        name="youtube_vis_2021",
        title="YouTube-VIS 2021",
        kind="instances in videos",
        formats=("youtube_vis",),
        label_set="youtube-vis-2021",
        metrics=("ap",),
        headline=("ap", "ap50", "ap75", "ar1", "ar10"),
        notes=(
            "the ground truth of valid and test is on a server only; YouTube-VIS 2022 adds long videos and keeps these "
            "categories",
        ),
        source="https://youtube-vos.org/dataset/vis/",
        licence="CC BY 4.0",
    ),
    DataSet(
        name="ovis",
        title="OVIS",
        kind="instances in videos",
        formats=("youtube_vis",),
        label_set="ovis",
        metrics=("ap",),
        headline=("ap", "ap50", "ap75", "ar1", "ar10"),
        not_measured=("AP by the degree of occlusion",),
        source="Qi et al., IJCV 2022; https://songbai.site/ovis/",
        licence="CC BY-NC-SA 4.0",
    ),
    DataSet(
        name="lv_vis",
        title="LV-VIS",
        kind="instances in videos",
        formats=("youtube_vis",),
        label_set=None,
        num_categories=1196,
        metrics=("ap",),
        headline=("ap",),
        not_measured=("AP over base and over novel categories, unless the groups are given",),
        source="Wang et al., ICCV 2023; https://github.com/haochenheheda/LVVIS",
        licence="CC BY-NC-SA 4.0",
    ),
    DataSet(
        name="kitti_mots",
        title="KITTI-MOTS",
        kind="instances in videos",
        formats=("kitti_mots",),
        label_set=None,
        num_categories=2,
        things=frozenset({"car", "pedestrian"}),
        metrics=_TRACKING,
        headline=("hota.class_averaged", "hota", "smotsa", "motsa", "id_switches"),
        ignore_labels=(10000,),
        notes=(
            "classes 1 (car) and 2 (pedestrian) are scored apart; predictions that lie in an ignore region (class 10) "
            "by more than half are taken away",
        ),
        source="Voigtlaender et al., CVPR 2019; https://www.vision.rwth-aachen.de/page/mots",
        licence=_KITTI,
    ),
    DataSet(
        name="davis_2017",
        title="DAVIS 2017",
        kind="instances in videos",
        formats=("davis",),
        label_set=None,
        metrics=_TRACKING,
        headline=("hota", "idf1", "smotsa"),
        not_measured=("J & F, its official metric: region and contour of every object, matched over the whole video",),
        notes=("objects have no categories",),
        source="Pont-Tuset et al., 2017; https://davischallenge.org/",
        licence="non-commercial (CC BY-NC 4.0)",
    ),
    DataSet(
        name="burst",
        title="BURST",
        kind="instances in videos",
        formats=("burst",),
        label_set=None,
        num_categories=482,
        metrics=("hota", "ap"),
        headline=("hota.class_averaged", "ap"),
        not_measured=("OWTA, of its open-world tasks",),
        notes=(
            "HOTA is the mean over categories, also over the common and the uncommon ones apart (class_split.json)",
            "not all categories are annotated in every video: predictions of those that are not count neither way",
            "validation and test are annotated at one frame a second",
        ),
        source="Athar et al., WACV 2023; https://github.com/Ali2500/BURST-benchmark",
        licence="non-commercial research; images are TAO's",
    ),
    DataSet(
        name="coco_panoptic",
        title="COCO panoptic",
        kind="panoptic images",
        formats=("coco_panoptic",),
        label_set="coco",
        metrics=("pq", "miou"),
        headline=("pq", "pq.things", "pq.stuff", "sq", "rq", "miou"),
        ignore_labels=(0,),
        source="Kirillov et al., CVPR 2019; https://cocodataset.org/#panoptic-eval",
        licence="CC BY 4.0",
    ),
    DataSet(
        name="cityscapes",
        title="Cityscapes panoptic",
        kind="panoptic images",
        formats=("coco_panoptic",),
        label_set="cityscapes",
        metrics=("pq", "miou"),
        headline=("pq", "pq.things", "pq.stuff", "miou"),
        ignore_labels=(0,),
        source="Cordts et al., CVPR 2016; https://www.cityscapes-dataset.com/",
        licence=_CITYSCAPES,
    ),
    DataSet(
        name="ade20k_150",
        title="ADE20K-150",
        kind="panoptic images",
        formats=("ade20k_150", "coco_panoptic"),
        label_set="ade20k",
        metrics=("pq", "miou"),
        headline=("pq", "sq", "rq", "miou"),
        ignore_labels=(0,),
        label_offset=1,
        notes=("things are the 100 categories of the Places challenge's instances",),
        source="Zhou et al., CVPR 2017; http://sceneparsing.csail.mit.edu/",
        licence="BSD 3-Clause (annotations); images for non-commercial research",
    ),
    DataSet(
        name="ade20k_847",
        title="ADE20K-847",
        kind="semantic images",
        formats=("ade20k_847",),
        label_set="ade20k-847",
        all_stuff=True,
        metrics=("miou",),
        headline=("miou",),
        ignore_labels=(65535,),
        notes=(_NO_SPLIT,),
        source="Zhou et al., IJCV 2019; https://groups.csail.mit.edu/vision/datasets/ADE20K/",
        licence="BSD 3-Clause (annotations); images for non-commercial research",
    ),
    DataSet(
        name="pascal_context_59",
        title="Pascal Context 59",
        kind="semantic images",
        formats=("pascal_context_59",),
        label_set="pascal-context-59",
        all_stuff=True,
        metrics=("miou",),
        headline=("miou",),
        ignore_labels=(255,),
        notes=(_NO_SPLIT,),
        source="Mottaghi et al., CVPR 2014; https://www.cs.stanford.edu/~roozbeh/pascal-context/",
        licence="not stated; images are Pascal VOC 2010's",
    ),
    DataSet(
        name="pascal_context_459",
        title="Pascal Context 459",
        kind="semantic images",
        formats=("pascal_context_459",),
        label_set="pascal-context-459",
        all_stuff=True,
        metrics=("miou",),
        headline=("miou",),
        ignore_labels=(65535,),
        notes=(_NO_SPLIT,),
        source="Mottaghi et al., CVPR 2014; https://www.cs.stanford.edu/~roozbeh/pascal-context/",
        licence="not stated; images are Pascal VOC 2010's",
    ),
    DataSet(
        name="pascal_voc",
        title="Pascal VOC 2012",
        kind="semantic images",
        formats=("pascal_voc",),
        label_set="pascal-voc",
        all_stuff=True,
        metrics=("miou",),
        headline=("miou",),
        ignore_labels=(255,),
        notes=("21 classes with the background; where objects are read, 20 of them are things",),
        source="Everingham et al., IJCV 2015; http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence="terms of Flickr (images)",
    ),
    DataSet(
        name="pascal_voc_20",
        title="Pascal VOC 2012 without background",
        kind="semantic images",
        formats=("pascal_voc",),
        label_set="pascal-voc",
        left_out=frozenset({"background"}),
        all_stuff=True,
        metrics=("miou",),
        headline=("miou",),
        ignore_labels=(255,),
        notes=("the background counts for nothing",),
        source="Everingham et al., IJCV 2015; http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence="terms of Flickr (images)",
    ),
)

_OTHER_NAMES = {
    "coco": "coco_panoptic",
    "ade20k": "ade20k_150",
    "davis": "davis_2017",
    "ytvis2019": "youtube_vis_2019",
    "ytvis2021": "youtube_vis_2021",
    "pascalvoc21": "pascal_voc",
}
"""Other name, without `-` and `_` -> name."""
