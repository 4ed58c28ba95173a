"""visionkit: one API for seeing and making images.

    import visionkit as vk
    vk.classify("cat.jpg")

The public names load on first use, so that importing visionkit costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for True; importing typing would cost half of the import
if TYPE_CHECKING:
    from .errors import Failure, VisionkitError
    from .evaluation.compare import evaluate
    from .images import find_images, load_image
    from .models import clear_models, list_models, load_model
    from .models.export import export_model
    from .models.saved import save_model
    from .models.verify import verify
    from .models.wrap import wrap_model
    from .pipeline import Batches, Preprocess, to_image, to_tensor
    from .results.saving import save_results
    from .results.tables import to_pandas
    from .tasks.ask import ask
    from .tasks.classify import classify
    from .tasks.detect import detect
    from .tasks.embed import embed
    from .tasks.embed_texts import embed_texts
    from .tasks.explain import explain
    from .tasks.fine_tune import fine_tune
    from .tasks.generate import generate
    from .tasks.show_activations import show_activations
    from .tasks.show_augmentation import show_augmentation
    from .tasks.show_filters import show_filters
    from .tasks.similarity import similarity
    from .tasks.top_patches import top_patches
    from .tasks.train import train

__version__ = "0.1.0"

_HOME = {  # no key is also the name of a module or folder here: importing that would replace the public name
    "Batches": "pipeline",
    "Failure": "errors",
    "Preprocess": "pipeline",
    "VisionkitError": "errors",
    "ask": "tasks.ask",
    "classify": "tasks.classify",
    "clear_models": "models",
    "detect": "tasks.detect",
    "embed": "tasks.embed",
    "embed_texts": "tasks.embed_texts",
    "evaluate": "evaluation.compare",
    "explain": "tasks.explain",
    "export_model": "models.export",
    "find_images": "images",
    "fine_tune": "tasks.fine_tune",
    "generate": "tasks.generate",
    "list_models": "models",
    "load_image": "images",
    "load_model": "models",
    "save_model": "models.saved",
    "save_results": "results.saving",
    "show_activations": "tasks.show_activations",
    "show_augmentation": "tasks.show_augmentation",
    "show_filters": "tasks.show_filters",
    "similarity": "tasks.similarity",
    "to_image": "pipeline",
    "to_pandas": "results.tables",
    "to_tensor": "pipeline",
    "top_patches": "tasks.top_patches",
    "train": "tasks.train",
    "verify": "models.verify",
    "wrap_model": "models.wrap",
}

__all__ = [
    "Batches",
    "Failure",
    "Preprocess",
    "VisionkitError",
    "ask",
    "classify",
    "clear_models",
    "detect",
    "embed",
    "embed_texts",
    "evaluate",
    "explain",
    "export_model",
    "find_images",
    "fine_tune",
    "generate",
    "list_models",
    "load_image",
    "load_model",
    "save_model",
    "save_results",
    "show_activations",
    "show_augmentation",
    "show_filters",
    "similarity",
    "to_image",
    "to_pandas",
    "to_tensor",
    "top_patches",
    "train",
    "verify",
    "wrap_model",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'visionkit' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
