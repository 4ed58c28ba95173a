"""What every training shares: data and splits, the loop, heads over any embedder, and the run that comes out."""

from .run import EpochRecord, TrainingRun
from .settings import Recipe

__all__ = ["EpochRecord", "Recipe", "TrainingRun"]
