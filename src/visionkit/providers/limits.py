"""What each vendor takes as a picture, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ..images import UploadRules


@dataclass(frozen=True)
class PictureLimits:
    """The largest picture that is worth sending: a larger one is refused, or shrunk by the vendor out of our sight.

    Attributes:
        max_side: longest side in pixels.
        max_bytes: size of the file, before base64.
        patch: side in pixels of the squares that the vendor counts, 0 where it does not.
        max_patches: how many of them one picture may have before the vendor shrinks it.
    """

    max_side: int
    max_bytes: int
    patch: int = 0
    max_patches: int = 0


# Checked 2026-11-23, from the vendors' documentation; see the pages in the comments to check again.
OPENAI: Final = PictureLimits(
    # developers.openai.com/api/docs/guides/images-vision: the detail "high" sees 2048 pixels and 2,500 patches of 32;
    # newer models take more, at 1.2 tokens a patch. 512 MB a request: 20 MiB keep one picture from filling it.
    max_side=2048,
    max_bytes=20 * 2**20,
    patch=32,
    max_patches=2500,
)
ANTHROPIC: Final = PictureLimits(
    # platform.claude.com/docs/en/build-with-claude/vision: shrunk to 1568 pixels and 1,568 patches of 28 (newer
    # models: 2576 and 4,784), and places in the answer are pixels of the shrunk picture; 10 MB in base64, a third
    # longer than the file.
    max_side=1568,
    max_bytes=7_500_000,
    patch=28,
    max_patches=1568,
)
LOCAL: Final = PictureLimits(max_side=2048, max_bytes=20 * 2**20)  # servers differ; each shrinks for its own model


def upload_rules(limits: PictureLimits, size_wh: tuple[int, int]) -> UploadRules:
    """The rules for one picture of this size: the longest side that keeps its patches few enough."""
    side = min(limits.max_side, max(size_wh))
    while limits.patch and side > 1 and _patches(size_wh, side, limits.patch) > limits.max_patches:
        side -= 1
    return UploadRules(max_side=side, max_bytes=limits.max_bytes)


def _patches(size_wh: tuple[int, int], side: int, patch: int) -> int:
    scale = side / max(size_wh)
    return math.prod(math.ceil(max(1, round(length * scale)) / patch) for length in size_wh)
