"""The evidence: attacks x defences on labelled images, the paper's tables, comparisons and frontiers."""

from export.calibration.model import Subject, attacked, shipped_subject
from export.evaluation.grid import evaluate, measure, thresholds_behind

__all__ = ["Subject", "attacked", "evaluate", "measure", "shipped_subject", "thresholds_behind"]
