"""`fine_tune`: make a trained model know classes of your own."""

from __future__ import annotations

import copy
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from ..errors import CapabilityError
from ..models import load_model
from ..models.protocols import ImageEmbedder, Savable
from .heat import heat_of
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..pipeline.augment import Augmentation
    from ..training import Recipe, TrainingRun
    from ..training.data import Data

DEFAULT_MODEL = "visionkit:efficientnet_lite0"


def fine_tune(
    data: Data,
    *,
    model: object = DEFAULT_MODEL,
    train: str = "head",
    epochs: int | None = None,
    batch_size: int | Literal["auto"] = 32,
    learning_rate: float | None = None,
    weight_decay: float = 1e-1,
    augment: Augmentation = "none",
    recipe: Recipe | None = None,
    validation: float | Data = 0.25,
    on_error: Literal["raise", "return"] = "return",
    seed: int = 0,
    device: str | torch.device | None = None,
    speed: str = "default",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    cache: bool | str | os.PathLike[str] = True,
    progress: bool | None = None,
) -> TrainingRun:
    """Trains a new head over a model, and as much of the model below it as `train` says.

    With "head" the model stays as it is: its features are computed once, so this takes seconds. The others train such a
    head first, and then it and a part of the model together, that part at 3% of the rate, so that the head does not
    spoil what the model knows (Kumar et al., "Fine-tuning can distort pretrained features", 2022). Under `accelerate
    launch`, several processes share every batch; a head alone is trained by the first of them.

    Args:
        data: a folder with a folder of pictures for each class, maybe within `train`, `val` and `test`; a CSV, JSONL or
            Parquet table with the columns image, label and maybe split; pairs of an image source and its label; a torch
            `Dataset` of such pairs; a `datasets.Dataset`. A list of names as a label: a picture may have several.
        model: any that embeds pictures: a name, by default "visionkit:efficientnet_lite0", a saved folder, or an
            object, of which a copy is used.
        train: "head": a linear head on the frozen features. "all": the whole network. "last:N": its last N blocks, such
            as "last:2", the rest stays as it is; a block is a residual block, a layer of a transformer, a layer that
            stands alone, each with the normalisation after it: see `visionkit.training.blocks`. "lora": small matrices
            beside the large ones, which are merged into these in the end, so that the saved model needs nothing more.
            The statistics of batch normalisation stay as they are.
        epochs: times that each picture, or its features, are seen; by default 30 for a head, else 10.
        batch_size: pictures in a batch; "auto": as many as the device has memory for, at most 512.
        learning_rate: the highest of the schedule; by default 1e-2 for a head alone, else 1e-3.
        weight_decay: decoupled from the gradients.
        augment: how pictures are changed at random while they are learnt: "none", "mirror", "light", "standard" or
            "strong"; see `show_augmentation`. For "head": each picture gets features in four views, one of them as it
            is.
        recipe: the rest; see `visionkit.training.Recipe`.
        validation: the fraction of every class that is set aside to measure on, where the data has no parts of its own;
            or data of its own.
        on_error: "return": pictures that cannot be loaded are left out, and listed in the run's `failures`; "raise":
            the first ends the training.
        seed: of the split and the order.
        device: where to run; None chooses CUDA, then MPS, then the CPU; for a name.
        speed: "default", "fast", "fastest" or "exact", see `load_model`; for a name.
        out: a folder for the trained model, which holds the backbone too, and for its checkpoints until then.
        resume: go on from the checkpoint in `out`, if there is one; see `train`.
        cache: for "head": keep the features, so that the next call on the same pictures and model takes moments. True:
            in `VISIONKIT_CACHE` or the user's cache folder, at most 10 GB; a folder; or False: in memory alone.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Raises:
        InputError: data or a number that makes no sense; another `train`.
        CapabilityError: the model does not embed pictures; or, with `out`, cannot be saved; or has no module to train.
        TrainingError: too few pictures or classes, a loss that is no number any more, or a checkpoint that cannot be
            written or is of other settings or data.
        MissingExtraError: "lora" without the package peft.
        ModelError: the model cannot be loaded.
    """
    from ..pipeline.augment import check_policy
    from ..training.fingerprints import weights_digest
    from ..training.frozen import train_head
    from ..training.launch import launched
    from ..training.origin import origin_of
    from ..training.prepare import finish, finished_run, prepare_out, split_data
    from ..training.settings import Recipe, Settings
    from ..training.tuning import read_part, tune

    part = read_part(train)
    check_policy(augment)
    usual_epochs, usual_rate = (30, 1e-2) if part.kind == "head" else (10, 1e-3)
    settings = Settings(
        epochs=usual_epochs if epochs is None else epochs,
        batch_size=batch_size,
        learning_rate=usual_rate if learning_rate is None else learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        augment=augment,
        recipe=Recipe() if recipe is None else recipe,
        train=train,
    )
    with launched(device) as together:
        place = device if hasattr(model, "device") else together.place(device)
        embedder = resolve(model, "embed", default=DEFAULT_MODEL, device=place, speed=speed, load=load_model)
        _check_embedder(embedder, saved=out is not None)
        folder = together.from_main(lambda: prepare_out(out, resume=resume))
        learn, check = split_data(data, validation, seed, on_error=on_error)
        together.check_same(
            model=embedder.name,
            layers=_layers(embedder),
            **asdict(settings),
            pictures=len(learn),
            classes=learn.classes,
        )
        origin: dict[str, Any] = {}
        if folder is not None:
            begun = {"architecture": embedder.architecture(), "weights": weights_digest(embedder.module)}
            earlier = getattr(embedder, "training_record", None)
            origin = together.from_main(lambda: origin_of(learn, check, begun, earlier))
        own = _innermost(embedder)
        if resume and (ended := finished_run(folder, settings, origin, module=own, together=together)):
            return ended
        if embedder is model:
            embedder = copy.deepcopy(embedder)
        if part.kind == "head":
            tuned = train_head(
                embedder, learn, check, settings=settings, progress=progress, cache=cache, together=together
            )
        else:
            tuned = tune(
                embedder,
                learn,
                check,
                part=part,
                settings=settings,
                progress=progress,
                folder=folder,
                resume=resume,
                together=together,
            )
        heat = heat_of(tuned.model)
        return finish(tuned, settings, folder, origin=origin, explain=heat, together=together)


def _innermost(embedder: Any) -> Any:
    """The module below all heads."""
    while hasattr(embedder, "embedder"):
        embedder = embedder.embedder
    return getattr(embedder, "module", None)


def _check_embedder(embedder: object, *, saved: bool) -> None:
    """Says no now, not after the training."""
    if not isinstance(embedder, ImageEmbedder):
        raise CapabilityError(f"{getattr(embedder, 'name', embedder)} does not embed pictures")
    if saved:
        if not isinstance(embedder, Savable):
            problem = "that model has no module and architecture()"
            raise CapabilityError(f"a head over {embedder.name} cannot be saved: {problem}")
        embedder.architecture()


def _layers(embedder: Any) -> str | None:
    """What tells its network from another; None where there is none to tell, as of a head over such a model."""
    from ..training.fingerprints import layers_digest

    try:
        return layers_digest(embedder.module)
    except (AttributeError, CapabilityError):
        return None
