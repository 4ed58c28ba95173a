"""`show_filters`: what a network's filters look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .resolve import resolve

if TYPE_CHECKING:
    from ..results import Grid


def show_filters(model: object, layer: str | None = None) -> Grid:
    """Draws the filters of a convolution: what each looks for.

    Those of the first convolution lie over the picture's colours, and are drawn in colour: edges, spots and colours.
    Those of later ones lie over what the layer before them gives; each is a row of grey pictures, one for each of its
    first 16 channels. Mid-grey is a weight of 0; white and black are the largest of the filter. At most 64 filters are
    drawn, 16 where each is a row.

    Args:
        model: a name, a saved folder, or a model object.
        layer: a convolution, by its path in the module; None: the first.

    Returns:
        A `Grid`: `.image`, `.save("filters.png")`, and a picture in notebooks.

    Raises:
        InputError: no such convolution; the nearest names are in the message.
        CapabilityError: the model has no layers to look into.
        ModelError: the model cannot be loaded.
    """
    loaded = resolve(model, "classify")
    from ..cnn.drawings import filters_drawn

    return filters_drawn(loaded, layer)
