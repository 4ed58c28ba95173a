"""Convolutional networks: architectures, and backbones of other libraries."""

from .simple import SimpleCNN

__all__ = ["SimpleCNN"]
