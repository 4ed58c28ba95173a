"""What comes back: frozen values that print well, draw themselves and serialise."""

from .answer import Answer
from .classification import Classification, Prediction
from .detections import Detections
from .embeddings import Embeddings
from .generated import GeneratedImage, GeneratedImages, Recipe
from .grid import Grid, Patch, Patches
from .heatmap import Heatmap
from .intervals import Interval
from .scoreboard import Difference, ModelScore, Scoreboard

__all__ = [
    "Answer",
    "Classification",
    "Detections",
    "Difference",
    "Embeddings",
    "GeneratedImage",
    "GeneratedImages",
    "Grid",
    "Heatmap",
    "Interval",
    "ModelScore",
    "Patch",
    "Patches",
    "Prediction",
    "Recipe",
    "Scoreboard",
]
