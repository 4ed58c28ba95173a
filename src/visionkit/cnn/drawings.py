"""What a network learnt, drawn: its filters, and what its layers give for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..images import Picture, Source, at_side, color_picture, draw_rows, heat_picture
from ..models.catalog import nearest
from ..pipeline import Batches
from ..results import Grid
from .looking import Layer, Opened, plain_pixels

FILTERS: Final = 64
"""Filters that are drawn."""

INPUTS: Final = 16
"""Input channels of a filter that are drawn, where they are more than colours."""

CHANNELS: Final = 8
"""Channels of a layer that are drawn for a picture: the most excited."""

LAYERS: Final = 4
"""Layers that are drawn where none are named, from early to late."""

_FILTER_SIDE: Final = 48
_MAP_SIDE: Final = 112
_ACROSS: Final = 16


def filters_drawn(model: Any, layer: str | None) -> Grid:
    """The filters of a convolution as pictures: grey is 0, white and black are the largest weights, by filter.

    Of a convolution over colours, each filter is one picture in colour; over more channels, a row of grey pictures, one
    for each.

    Raises:
        InputError: no such layer, or it is no convolution.
        CapabilityError: the model has no layers to look into.
    """
    opened = Opened(model)
    name, weights = _convolution(opened, layer)
    count, inputs = weights.shape[:2]
    kernels = weights.detach().float().cpu().numpy()[:FILTERS]
    kernels = 0.5 + kernels / (2 * np.abs(kernels).max(axis=(1, 2, 3), keepdims=True).clip(1e-12))
    rows: list[tuple[str, list[Picture]]]
    if inputs in (1, 3):
        tiles = [_tile(color_picture(k.transpose(1, 2, 0).squeeze())) for k in kernels]
        shown = [(i, tiles[i : i + _ACROSS]) for i in range(0, len(tiles), _ACROSS)]
        rows = [(f"{name}: filters {i}-{i + len(part) - 1} of {count}", part) for i, part in shown]
    else:
        rows = [
            (f"{name}: filter {i} of {count}, over {min(INPUTS, inputs)} of {inputs} channels", _tiles(kernel[:INPUTS]))
            for i, kernel in enumerate(kernels[:INPUTS])
        ]
    return Grid(image=draw_rows(rows), rows=tuple(text for text, _ in rows), model=opened.name, source=f"layer {name}")


def _tiles(kernel: npt.NDArray[Any]) -> list[Picture]:
    return [_tile(color_picture(channel)) for channel in kernel]


def _tile(picture: Picture) -> Picture:
    return at_side(picture, _FILTER_SIDE)


def _convolution(opened: Opened, name: str | None) -> tuple[str, Tensor]:
    """A convolution by its path, the first for None, and its weights (filters, inputs, height, width)."""
    found = {n: m.weight for n, m in opened.module.named_modules() if isinstance(m, nn.Conv2d)}
    if not found:
        raise InputError(f"{opened.name} has no convolution whose filters could be drawn")
    if name is None:
        return next(iter(found.items()))
    if name not in found:
        close = nearest(str(name), found) or list(found)[:5]
        raise InputError(
            f"layer {name!r} of {opened.name} is no convolution; did you mean {' or '.join(map(repr, close))}?"
        )
    return name, found[name]


def activations_drawn(model: Any, image: Source, layers: Sequence[str] | None) -> Grid:
    """What layers give for one picture: of each, its most excited channels as maps over the model's input.

    Raises:
        InputError: no such layer.
        CapabilityError: the model has no layers to look into.
    """
    opened = Opened(model)
    chosen = _some(opened) if layers is None else [opened.layer(name) for name in layers]
    [batch] = Batches([image], opened.preprocess, device=opened.device, speed="exact")
    with torch.no_grad(), opened.listening([layer.name for layer in chosen]) as heard:
        opened.run(plain_pixels(batch.pixels))
        maps = [layer.maps(heard[layer.name])[0].float().cpu() for layer in chosen]
    rows: list[tuple[str, list[Picture]]] = []
    for layer, values in zip(chosen, maps, strict=True):
        strongest = values.amax((1, 2)).topk(min(CHANNELS, layer.channels)).indices.tolist()
        tall, wide = layer.grid_hw
        caption = f"{layer.name} ({layer.channels} channels of {tall}x{wide}): {', '.join(map(str, strongest))}"
        rows.append((caption, [_map(values[channel]) for channel in strongest]))
    names = tuple(layer.name for layer in chosen)
    return Grid(image=draw_rows(rows), rows=names, model=opened.name, source=batch.sources[0])


def _some(opened: Opened) -> list[Layer]:
    """A few layers from early to late, each of another fineness where there are as many."""
    last_of_each = list({layer.grid_hw: layer for layer in opened.layers}.values())
    if len(last_of_each) < 2:
        last_of_each = list(opened.layers)
    if not last_of_each:
        opened.layer(None)  # says that there is none
    places = np.linspace(0, len(last_of_each) - 1, min(LAYERS, len(last_of_each)))
    return [last_of_each[round(place)] for place in places]


def _map(values: Tensor) -> Picture:
    positive = values.clamp_min(0)
    scaled = positive / positive.max().clamp_min(1e-12)
    return at_side(heat_picture(scaled.numpy()), _MAP_SIDE)
