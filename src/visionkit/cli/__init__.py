"""The `visionkit` command: a thin shell over the verbs."""

from .app import main

__all__ = ["main"]
