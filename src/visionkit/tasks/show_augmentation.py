"""`show_augmentation`: what a policy does to a picture, before a network learns from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError
from ..images import Picture, Source, contact_sheet, load_image

if TYPE_CHECKING:
    from ..pipeline import Preprocess
    from ..pipeline.augment import Augmentation


def show_augmentation(
    image: Source,
    policy: Augmentation = "standard",
    *,
    n: int = 8,
    preprocess: Preprocess | None = None,
    seed: int = 0,
) -> Picture:
    """Draws a picture as a model would see it, and beside it what a policy of augmentation makes of it.

    Args:
        image: see `load_image`.
        policy: "none", "mirror", "light" (mirrored, shifted), "standard" (mirrored, a part enlarged, colours changed)
            or "strong" (mirrored, a part enlarged, one operation of TrivialAugment); what `train` and `fine_tune` take
            as `augment=`.
        n: how many variants.
        preprocess: how the model wants its pictures: `model.preprocess`. None: the short side becomes 224 pixels, and
            the middle is cut out.
        seed: the same gives the same variants.

    Returns:
        A contact sheet: first the picture, then the variants.

    Raises:
        InputError: the image cannot be loaded; no such policy; `n` or `seed` is no whole number in its range.
    """
    from torch import Generator

    from ..pipeline import Preprocess
    from ..pipeline.augment import augment, check_policy
    from ..pipeline.tensors import fit_pixels, pixels_of

    check_policy(policy)
    count: object = n
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 100:
        raise InputError(f"n={n!r} must be a whole number from 1 to 100")
    start: object = seed
    if not isinstance(start, int) or isinstance(start, bool) or not 0 <= start < 2**32:
        raise InputError(f"seed={seed!r} must be a whole number from 0 to {2**32 - 1}")
    fitted = fit_pixels(pixels_of(load_image(image)), preprocess or Preprocess(size_wh=(224, 224)))
    variants = augment(fitted.expand(n, -1, -1, -1), policy, Generator().manual_seed(seed))
    return contact_sheet([load_image(pixels.permute(1, 2, 0).numpy()) for pixels in (fitted, *variants)])
