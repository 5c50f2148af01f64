"""Quality of video panoptic segmentation: metrics equal to the reference evaluators, and a world with exact truth."""

from eval.evaluation import Evaluation, Report, evaluate, evaluate_folders, match_categories

__all__ = ["Evaluation", "Report", "evaluate", "evaluate_folders", "match_categories"]
