"""Names become models: registry, capability protocols, saved folders."""

from .catalog import CATALOG, Entry
from .loading import clear_models, list_models, load_cached, load_model
from .registry import Backend

__all__ = ["CATALOG", "Backend", "Entry", "clear_models", "list_models", "load_cached", "load_model"]
