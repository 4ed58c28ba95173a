"""Which parts of pictures excite a channel most, and how much of a picture a place of a layer sees."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Final

import torch

from ..errors import InputError
from ..images import Picture, Source, at_side, describe, draw_rows, load_image
from ..images.fit import Fit
from ..images.sources import is_file_object
from ..pipeline import Batches
from ..results import Patch, Patches
from .looking import Layer, Opened, plain_pixels

_SIDE: Final = 112
_ACROSS: Final = 8
_NOISES: Final = 8
"""Inputs of noise over which a field is measured: in one alone, some of its way is closed by ReLU or max-pooling."""


def receptive_field(opened: Opened, layer: Layer, place_yx: tuple[int, int]) -> tuple[int, int, int, int]:
    """What of the input a place of a layer sees: left, top, right, bottom in pixels of the input.

    Measured, not worked out, so that it holds for any network: where the input has a gradient; all of the input, where
    none flows.
    """
    width, height = opened.preprocess.size_wh
    y, x = place_yx
    with torch.inference_mode(mode=False), torch.enable_grad():
        pixels = opened.noise(_NOISES).requires_grad_()
        with opened.listening([layer.name]) as heard:
            opened.run(pixels)
        [gradient] = opened.gradients(layer.maps(heard[layer.name])[:, :, y, x].sum(), [pixels])
    if gradient is None:
        return 0, 0, width, height
    seen = gradient.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero().flatten().tolist(), seen.any(0).nonzero().flatten().tolist()
    if not rows:
        return 0, 0, width, height
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def patches_found(
    model: Any, name: str, channel: int, data: Iterable[Source], *, count: int, batch_size: int
) -> Patches:
    """The parts of pictures that excite a channel most, at most one from each; what fails to load is left out.

    Raises:
        InputError: no such layer or channel; no picture could be loaded; an open file that cannot be read twice.
        CapabilityError: the model has no layers to look into.
    """
    opened = Opened(model)
    layer = opened.layer(name)
    number: object = channel
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < layer.channels:
        raise InputError(f"channel={channel!r} must be a whole number from 0 to {layer.channels - 1}, as in {name!r}")
    sources: dict[int, tuple[Source, int | None]] = {}
    best: list[tuple[float, int, tuple[int, int], str, Fit]] = []

    def kept() -> Iterable[Source]:
        for index, source in enumerate(data):
            sources[index] = source, _place_in(source)
            yield source

    options: dict[str, Any] = {"batch_size": batch_size, "device": opened.device, "speed": "exact"}
    with closing(Batches(kept(), opened.preprocess, on_error="return", **options)) as batches:
        for batch in batches:
            with torch.no_grad(), opened.listening([layer.name]) as heard:
                opened.run(plain_pixels(batch.pixels))
                values, places = layer.maps(heard[layer.name])[:, channel].flatten(1).max(1)
            for i, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
                if math.isnan(value):  # neither more nor less than any other
                    sources.pop(batch.indices[i])
                    continue
                # of equals the first: a later one has the lower number
                entry = (value, -batch.indices[i], divmod(place, layer.grid_hw[1]), batch.sources[i], batch.fits[i])
                heapq.heappush(best, entry)
                if len(best) > count:
                    sources.pop(-heapq.heappop(best)[1])
            for failure in batch.failures:
                sources.pop(failure.index)
    if not best:
        raise InputError("top_patches needs at least one picture that can be loaded and gives the channel a number")
    return _drawn(opened, layer, channel, sorted(best, reverse=True), sources)


def _place_in(source: Any) -> int | None:
    """Where an open file stands, to be read again from there; None for another source."""
    if not is_file_object(source):
        return None
    try:
        return int(source.tell())
    except (AttributeError, OSError, ValueError) as err:  # the last: it is closed
        raise InputError(f"{describe(source)} cannot be read twice, which this takes: give its bytes") from err


def _again(source: Any, place: int | None) -> Picture:
    if place is not None:
        source.seek(place)
    return load_image(source)


def _drawn(
    opened: Opened,
    layer: Layer,
    channel: int,
    best: list[tuple[float, int, tuple[int, int], str, Fit]],
    sources: dict[int, tuple[Source, int | None]],
) -> Patches:
    fields: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    patches: list[Patch] = []
    pictures: list[Picture] = []
    for value, negative, place, source, fit in best:
        if place not in fields:
            fields[place] = receptive_field(opened, layer, place)
        left, top, right, bottom = fit.boxes_to_image([fields[place]])[0].tolist()
        patches.append(Patch(source=source, box_xyxy=(left, top, right, bottom), activation=value))
        whole = _again(*sources[-negative])
        edges = (int(left), int(top), max(int(left) + 1, round(right)), max(int(top) + 1, round(bottom)))
        pictures.append(at_side(whole.crop(edges), _SIDE))
    texts = [f"{layer.name}, channel {channel}"] + [""] * ((len(pictures) - 1) // _ACROSS)
    rows = [(text, pictures[i * _ACROSS : (i + 1) * _ACROSS]) for i, text in enumerate(texts)]
    return Patches(
        image=draw_rows(rows),
        rows=(texts[0],),
        patches=tuple(patches),
        layer=layer.name,
        channel=channel,
        model=opened.name,
        source=f"{len(patches)} pictures",
    )
