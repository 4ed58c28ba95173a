"""`train`: a network from random weights."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from ..errors import InputError
from .heat import heat_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..pipeline.augment import Augmentation
    from ..training import Recipe, TrainingRun
    from ..training.data import Data


def train(
    data: Data,
    *,
    model: str | nn.Module = "visionkit:simple_cnn",
    epochs: int = 30,
    batch_size: int | Literal["auto"] = 32,
    learning_rate: float = 6e-3,
    weight_decay: float = 1e-2,
    augment: Augmentation = "none",
    recipe: Recipe | None = None,
    validation: float | Data = 0.25,
    on_error: Literal["raise", "return"] = "return",
    seed: int = 0,
    device: str | torch.device | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> TrainingRun:
    """Trains a network from scratch: AdamW, one cycle of the learning rate, cross-entropy.

    The input size is the pictures' own when all are alike and at most 64 pixels, else 224×224; mean and standard
    deviation come from the data; both are part of the model. The same seed, machine and threads give the same weights.
    Under `accelerate launch`, several processes share every batch.

    With `out`, that folder holds a checkpoint and `history.jsonl` while it runs, and the model when it has ended. What
    ended it early, be it an error or the power, costs at most a minute or an epoch, whichever is shorter: the same call
    with `resume=True` goes on, to the same weights. Ctrl-C costs the step in which it comes alone, unless this one is
    writing the weights just then; a second one ends at once.

    Args:
        data: a folder with a folder of pictures for each class, maybe within `train`, `val` and `test`; a CSV, JSONL or
            Parquet table with the columns image, label and maybe split; pairs of an image source and its label; a torch
            `Dataset` of such pairs; a `datasets.Dataset`. A list of names as a label: a picture may have several.
        model: a name that takes `pretrained=False` and `num_classes` (`visionkit:simple_cnn`, `torchvision:resnet18`,
            `timm:…`), or a module of your own, such as `visionkit.cnn.SimpleCNN(10)`, of which a copy is trained.
        epochs: times that each picture is seen.
        batch_size: pictures in a batch; "auto": as many as the device has memory for, at most 512.
        learning_rate: the highest of the schedule.
        weight_decay: decoupled from the gradients.
        augment: how pictures are changed at random while they are learnt: "none", "mirror", "light", "standard" or
            "strong"; see `show_augmentation`.
        recipe: the rest: optimizer, schedule, label smoothing, class weights, early stopping, a running average of the
            weights, accumulated gradients, precision; see `visionkit.training.Recipe`.
        validation: the fraction of every class that is set aside to measure on, where the data has no parts of its own;
            or data of its own.
        on_error: "return": pictures that cannot be loaded are left out, and listed in the run's `failures`; "raise":
            the first ends the training.
        seed: of the weights, the split, and the order.
        device: where to train; None chooses CUDA, then MPS, then the CPU.
        out: a folder for the trained model, and for its checkpoints until then.
        resume: go on from the checkpoint in `out`, if there is one; a run that has ended is given as it is.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Raises:
        InputError: data or a number that makes no sense.
        TrainingError: too few pictures or classes, a network of other classes than the data (both numbers are named),
            a loss that is no number any more, a checkpoint that cannot be written, or is of other settings or data.
        KeyboardInterrupt: Ctrl-C; with `out` it says how to go on.
        ModelNotFoundError: no such name.
    """
    from torch import nn

    from ..pipeline import choose_device
    from ..pipeline.augment import check_policy
    from ..training.fingerprints import layers_digest
    from ..training.launch import launched
    from ..training.origin import origin_of
    from ..training.prepare import finish, finished_run, prepare_out, split_data
    from ..training.scratch import named, train_network
    from ..training.settings import Recipe, Settings

    if not isinstance(model, (str, nn.Module)):
        raise InputError(f"model must be a name or a torch.nn.Module, not {type(model).__name__}")
    check_policy(augment)
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        augment=augment,
        recipe=Recipe() if recipe is None else recipe,
    )
    with launched(device) as together:
        folder = together.from_main(lambda: prepare_out(out, resume=resume))
        learn, check = split_data(data, validation, seed, on_error=on_error)
        layers = layers_digest(model) if isinstance(model, nn.Module) else None
        together.check_same(
            **named(model), layers=layers, **asdict(settings), pictures=len(learn), classes=learn.classes
        )
        origin = together.from_main(lambda: origin_of(learn, check, named(model)) if folder is not None else {})
        own = None if isinstance(model, str) else model
        if resume and (ended := finished_run(folder, settings, origin, module=own, together=together)):
            return ended
        trained = train_network(
            model,
            learn,
            check,
            settings=settings,
            device=choose_device(together.place(device)),
            progress=progress,
            folder=folder,
            resume=resume,
            together=together,
        )
        heat = heat_of(trained.model)
        return finish(trained, settings, folder, origin=origin, explain=heat, together=together)
