"""What a verb was given as `model=` becomes a model object."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..models import load_cached

if TYPE_CHECKING:
    import torch


def resolve(
    model: object,
    task: str,
    *,
    default: str | None = None,
    device: str | torch.device | None = None,
    speed: str = "default",
    load: Callable[..., Any] = load_cached,
) -> Any:
    """A name becomes a loaded model, by `load` one that verbs share; an object stays itself; None is the default.

    Raises:
        InputError: None, or an object that is no model; `device` or `speed` with an object, which has its own.
    """
    if model is None:
        model = default
    if isinstance(model, (str, os.PathLike)):
        return load(model, task=task, device=device, speed=speed)
    if model is None:
        raise InputError(f"{task} has no default model: give model=, a name such as those of vk.list_models({task!r})")
    if not hasattr(model, "name"):
        hint = (
            "wrap it first: vk.wrap_model(module, preprocess=…)"
            if hasattr(model, "state_dict")
            else ("give a name, a saved folder, or what vk.load_model gives")
        )
        raise InputError(f"model={type(model).__name__} is no model: {hint}")
    if device is not None or speed != "default":
        raise InputError("device= and speed= go with a model's name; a model object has its own, given to load_model")
    return model
