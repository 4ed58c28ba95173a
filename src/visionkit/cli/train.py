"""`visionkit train`: a folder of pictures becomes a saved model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import Failure, TrainingError, VisionkitError
from ..images.sources import printable


def train(  # noqa: PLR0917 - typer gives them by name
    data: Annotated[
        str,
        typer.Argument(help="A folder with a folder of pictures for each class, or a table.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the model.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            help="A model's name or a saved folder; by default a small network, or with --fine-tune the embedded one.",
            show_default=False,
        ),
    ] = None,
    fine_tune: Annotated[
        str | None,
        typer.Option(
            help="Go on from the model's weights, and train: head, all, last:N or lora. Without it: from random ones.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Times that each picture is seen.", show_default=False)] = None,
    batch_size: Annotated[str, typer.Option(help="Pictures in a batch, or auto.")] = "32",
    learning_rate: Annotated[float | None, typer.Option(help="The highest.", show_default=False)] = None,
    augment: Annotated[str, typer.Option(help="none, mirror, light, standard or strong.")] = "none",
    validation: Annotated[
        str, typer.Option(help="The fraction to set aside for measuring, or a folder or table.")
    ] = "0.25",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train a network on labelled pictures, or fine-tune one, and save it with its report."""
    given = {"model": model, "epochs": epochs, "learning_rate": learning_rate, "device": device}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options |= {"augment": augment, "seed": seed, "out": out, "resume": resume}
    options["batch_size"] = int(batch_size) if batch_size.isdecimal() else batch_size
    options["validation"] = _fraction_or_data(validation)
    try:
        run = _train(data, fine_tune, options)
    except KeyboardInterrupt as err:
        typer.echo(f"visionkit: {printable(str(err) or 'stopped')}", err=True)
        sys.exit(130)
    except VisionkitError as err:
        typer.echo(f"visionkit: {printable(str(err))}", err=True)
        sys.exit(1 if isinstance(err, TrainingError) else 2)
    for failure in run.failures:
        _say_failed(failure)
    typer.echo(printable(repr(run)))
    sys.exit(1 if run.failures else 0)


def _train(data: str, part: str | None, options: dict[str, Any]) -> Any:
    if part is None:
        from ..tasks.train import train as scratch

        return scratch(data, **options)
    from ..tasks.fine_tune import fine_tune as tune

    return tune(data, train=part, **options)


def _fraction_or_data(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _say_failed(failure: Failure) -> None:
    typer.echo(f"{printable(failure.source)}\n  left out: {printable(str(failure.error))}", err=True)
