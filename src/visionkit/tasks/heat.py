"""Heat maps for the report of a training, which is a layer below those who make them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from ..images import Source
from ..results import Heatmap

if TYPE_CHECKING:
    from ..cnn.explain import Explainer


def heat_of(model: object) -> Callable[[Source, str], Heatmap]:
    """Tells where in an image `model` sees a label; nothing is loaded for it before the first call."""

    @cache  # opening a model takes longer than one heat map
    def explainer() -> Explainer:
        from ..cnn.explain import Explainer

        return Explainer(model, measured=False)

    def heat(image: Source, label: str) -> Heatmap:
        return explainer()(image, label)

    return heat
