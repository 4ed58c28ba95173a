"""What says that features would come out the same: the model, the pictures, and how they are changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from .. import __version__
from ..errors import CapabilityError
from ..images import Source, is_tensor
from ..images.sources import Picture
from ..models.forms import exactly
from ..models.protocols import Savable
from ..pipeline import Batches
from .same_bytes import content_digest, file_path

if TYPE_CHECKING:
    from torch import nn

    from ..models.protocols import ImageEmbedder

_FORMAT: Final = 1
"""Raised when features come out otherwise for reasons that nothing below tells of."""


@dataclass(frozen=True)
class Views:
    """How many features each picture has.

    Attributes:
        count: at least 1; the first is the picture as it is, the others are changed at random.
        policy: of augmentation.
        seed: of what is random in it.
    """

    count: int = 1
    policy: str = "none"
    seed: int = 0


class Fingerprints:
    """Fingerprints of a model's features; the model, which must not change meanwhile, is looked at once, when needed.

    Args:
        embedder: the model.
    """

    def __init__(self, embedder: ImageEmbedder) -> None:
        self._embedder = embedder

    def of(self, sources: Sequence[Source], views: Views) -> str | None:
        """64 hexadecimal digits; None where the model or a picture cannot be known to be the same next time."""
        pictures = _pictures(sources)
        if pictures is None or self._model is None:
            return None
        changed = [views.count, views.policy, views.seed] if views.count > 1 else []
        whole = json.dumps([_FORMAT, self._model, pictures, changed], sort_keys=True, default=repr)
        return hashlib.sha256(whole.encode()).hexdigest()

    @cached_property
    def _model(self) -> list[Any] | None:
        return _model(self._embedder)


def weights_digest(module: nn.Module) -> str:
    """64 hexadecimal digits of all weights by their names."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def layers_digest(module: nn.Module) -> str:
    """64 hexadecimal digits of what a module says of its layers, and of its weights' names and shapes."""
    said = re.sub(r" at 0x[0-9a-fA-F]+", "", str(module))  # another in every process
    shapes = [f"{name} {value.dtype} {tuple(value.shape)}" for name, value in module.state_dict().items()]
    return hashlib.sha256("\n".join([type(module).__name__, said, *shapes]).encode()).hexdigest()


def _pictures(sources: Sequence[Source]) -> str | None:
    digest = hashlib.sha256()
    for source in sources:
        key = _picture(source)
        if key is None:
            return None
        digest.update(f"{len(key)} {key}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _picture(source: Any) -> str | None:
    path = file_path(source)
    if path is not None:
        try:
            status = os.stat(path)  # noqa: PTH116 - for each of many files
        except (OSError, ValueError):
            return f"missing {os.path.abspath(path)}" if "\0" not in path else None  # noqa: PTH100 - as above
        times = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        return f"file {times} {os.path.abspath(path)}"  # noqa: PTH100 - as above
    if isinstance(source, Picture):
        return f"picture {source.mode} {source.size} {hashlib.sha256(source.tobytes()).hexdigest()}"
    if is_tensor(source):
        source = np.asarray(source.detach().cpu().numpy())
    digest = content_digest(source)
    return f"content {type(source).__name__} {digest.hex()}" if digest is not None else None


def _model(embedder: ImageEmbedder) -> list[Any] | None:
    try:
        if not isinstance(embedder, Savable):
            return None
    except CapabilityError:  # a head over a model without a module
        return None
    return [
        embedder.architecture(),
        weights_digest(embedder.module),
        embedder.preprocess.to_dict(),
        embedder.speed,
        embedder.device.type,
        [__version__, torch.__version__],
        _answer(embedder),
    ]


def _answer(embedder: ImageEmbedder) -> str:
    """What the plain model says of a test picture, to the bit: a change of its code or of threads changes it."""
    width, height = embedder.preprocess.size_wh
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    batches = Batches([picture], embedder.preprocess, batch_size=1, device=embedder.device, speed=embedder.speed)
    with closing(batches), exactly():  # the form that will run need not be made where the features are there
        features = embedder.image_features(next(batches)).float().cpu().contiguous()
    return hashlib.sha256(features.numpy().tobytes()).hexdigest()
