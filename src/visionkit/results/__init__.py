"""What comes back: frozen values that print well, draw themselves and serialise."""

from .classification import Classification, Prediction
from .embeddings import Embeddings

__all__ = ["Classification", "Embeddings", "Prediction"]
