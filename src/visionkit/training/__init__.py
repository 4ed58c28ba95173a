"""What every training shares: data and splits, the loop, heads over any embedder, and the run that comes out."""

from .data_report import DataReport, Duplicate
from .run import EpochRecord, TrainingRun
from .settings import Recipe

__all__ = ["DataReport", "Duplicate", "EpochRecord", "Recipe", "TrainingRun"]
