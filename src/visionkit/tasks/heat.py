"""Heat maps for the report of a training, which is a layer below those who make them."""

from __future__ import annotations

from collections.abc import Callable

from ..images import Source
from ..results import Heatmap


def heat_of(model: object) -> Callable[[Source, str], Heatmap]:
    """Tells where in an image `model` sees a label; nothing is loaded for it before the first call."""

    def heat(image: Source, label: str) -> Heatmap:
        from .explain import explain

        return explain(image, model=model, label=label, measured=False)

    return heat
