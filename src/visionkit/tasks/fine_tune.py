"""`fine_tune`: make a trained model know classes of your own."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Literal

from ..errors import CapabilityError, InputError
from ..models import load_model
from ..models.protocols import ImageEmbedder, Savable
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..training import TrainingRun
    from ..training.data import Data

DEFAULT_MODEL = "visionkit:efficientnet_lite0"


def fine_tune(
    data: Data,
    *,
    model: object = DEFAULT_MODEL,
    train: Literal["head"] = "head",
    epochs: int = 30,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-1,
    validation: float | Data = 0.25,
    seed: int = 0,
    device: str | torch.device | None = None,
    speed: str = "default",
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> TrainingRun:
    """Trains a new head over a model that stays as it is; its features are computed once, so this takes seconds.

    Args:
        data: a folder with a folder of pictures for each class, or pairs of an image source and its label.
        model: any that embeds pictures: a name, by default "visionkit:efficientnet_lite0", a saved folder, or an
            object, of which a copy is used.
        train: "head": a linear head on the frozen features.
        epochs: times that each picture's features are seen.
        batch_size: pictures in a step of training.
        learning_rate: the peak of the cycle.
        weight_decay: of AdamW.
        validation: the fraction of every class that is set aside to measure on, or data of its own.
        seed: of the split and the order.
        device: where to run; None chooses CUDA, then MPS, then the CPU; for a name.
        speed: "default", "fast" or "exact"; for a name.
        out: a folder for the trained model; it holds the backbone too.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Raises:
        InputError: data or a number that makes no sense; another `train`.
        CapabilityError: the model does not embed pictures; or, with `out`, cannot be saved.
        TrainingError: too few pictures or classes, or a loss that is no number any more.
        ModelError: the model cannot be loaded.
    """
    from ..training.frozen import train_head
    from ..training.loop import Settings
    from ..training.prepare import finish, prepare_out, split_data

    if train != "head":
        raise InputError(f"train={train!r} is not offered; train='head' trains a head over the frozen model")
    settings = Settings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay, seed=seed
    )
    embedder = resolve(model, "embed", default=DEFAULT_MODEL, device=device, speed=speed, load=load_model)
    if not isinstance(embedder, ImageEmbedder):
        raise CapabilityError(f"{embedder.name} does not embed pictures")
    if out is not None:
        if not isinstance(embedder, Savable):
            problem = "that model has no module and architecture()"
            raise CapabilityError(f"a head over {embedder.name} cannot be saved: {problem}")
        embedder.architecture()  # says no now, not after the training
    if embedder is model:
        embedder = copy.deepcopy(embedder)
    folder = prepare_out(out)
    learn, check = split_data(data, validation, seed)
    headed = train_head(embedder, learn, check, settings=settings, progress=progress)
    return finish(headed, settings, folder)
