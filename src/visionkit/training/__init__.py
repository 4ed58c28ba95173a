"""What every training shares: data and splits, the loop, heads over any embedder, and the run that comes out."""

from .run import EpochRecord, TrainingRun

__all__ = ["EpochRecord", "TrainingRun"]
