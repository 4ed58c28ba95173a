"""Convolutional networks: architectures, and backbones of other libraries."""

from .alexnet import AlexNet
from .simple import SimpleCNN

__all__ = ["AlexNet", "SimpleCNN"]
