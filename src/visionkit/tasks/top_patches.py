"""`top_patches`: what excites a channel of a layer most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import InputError
from ..images import is_single
from .arguments import whole_number
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..images import Source
    from ..results import Patches


def top_patches(
    model: object,
    layer: str,
    channel: int,
    data: Iterable[Source],
    *,
    count: int = 16,
    device: str | torch.device | None = None,
    batch_size: int = 32,
) -> Patches:
    """Finds the parts of pictures that excite a channel of a layer most: what it has learnt to look for.

    A part is all that the channel sees from the place where it is most excited (its receptive field), cut from the
    picture itself. Early channels see a few pixels, the last of a deep network often the whole picture.

    Args:
        model: a name, a saved folder, or a model object.
        layer: its path in the module, such as those that `show_activations(…).rows` names.
        channel: which of its channels, from 0.
        data: sources of pictures, as many as you like: they are read once, a batch at a time, and those that cannot be
            loaded are left out. A channel's meaning shows over hundreds.
        count: parts to keep, at most one from each picture.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        batch_size: pictures in one step.

    Returns:
        `Patches`, the strongest first: `.image`, `.save("patches.png")`, and `.patches` with each one's source, box and
        activation.

    Raises:
        InputError: a layer or channel that the model lacks (the nearest names are in the message); no picture could be
            loaded.
        CapabilityError: the model has no layers to look into.
        ModelError: the model cannot be loaded.
    """
    if is_single(data):
        raise InputError("data must be several pictures: a list, such as vk.find_images(folder), or an iterator")
    kept = whole_number("count", count, 1)
    loaded = resolve(model, "classify", device=device)
    from ..cnn.patches import patches_found

    return patches_found(loaded, layer, channel, data, count=kept, batch_size=batch_size)
