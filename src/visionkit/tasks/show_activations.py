"""`show_activations`: what the layers of a network give for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..images import Source
    from ..results import Grid


def show_activations(
    image: Source,
    *,
    model: object = "visionkit:efficientnet_lite0",
    layers: Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> Grid:
    """Draws what the layers of a network respond to in a picture, from early to late.

    A row for each layer: its eight most excited channels, as maps over the model's input, from black (nothing or less)
    to light yellow (the channel's most). Of a transformer, the tokens are laid out as the patches that they stand for.

    Args:
        image: one source; see `load_image`.
        model: a name, a saved folder, or a model object.
        layers: their paths in the module, in the order in which to draw them; None: four from early to late.
        device: where to run; None chooses CUDA, then MPS, then the CPU.

    Returns:
        A `Grid`: `.image`, `.save("activations.png")`, and a picture in notebooks. `.rows` are the layers.

    Raises:
        InputError: a layer that the model lacks or that gives no maps (the nearest names are in the message); a bad
            source.
        CapabilityError: the model has no layers to look into.
        ModelError: the model cannot be loaded.
    """
    if layers is not None and (isinstance(layers, str) or not layers):
        raise InputError(f"layers={layers!r} must be a list of layers' paths, or None for four from early to late")
    loaded = resolve(model, "classify", device=device)
    from ..cnn.drawings import activations_drawn

    return activations_drawn(loaded, image, layers)
