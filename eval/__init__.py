"""Quality of video panoptic segmentation: metrics equal to the reference evaluators, and a world with exact truth."""

from eval.arrays import LabelledVideo, evaluate_arrays
from eval.bootstrap import Difference, compare
from eval.evaluation import Evaluation, evaluate, match_categories
from eval.folders import evaluate_folders
from eval.report import Report

__all__ = [
    "Difference",
    "Evaluation",
    "LabelledVideo",
    "Report",
    "compare",
    "evaluate",
    "evaluate_arrays",
    "evaluate_folders",
    "match_categories",
]
