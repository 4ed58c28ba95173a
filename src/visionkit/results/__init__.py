"""What comes back: frozen values that print well, draw themselves and serialise."""

from .answer import Answer
from .classification import Classification, Prediction
from .detections import Detections
from .embeddings import Embeddings
from .generated import GeneratedImage, GeneratedImages, Recipe

__all__ = [
    "Answer",
    "Classification",
    "Detections",
    "Embeddings",
    "GeneratedImage",
    "GeneratedImages",
    "Prediction",
    "Recipe",
]
