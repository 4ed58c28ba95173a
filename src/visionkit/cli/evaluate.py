"""`visionkit evaluate`: models compared on the same pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import VisionkitError


def evaluate(
    models_and_data: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... DATA",
            help="Models' names or saved folders; then a folder with a folder of pictures for each class, or a table.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(help="What image–text models choose from, with commas between.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All figures, as one JSON object.")] = False,
) -> None:
    """Measure models on pictures whose labels are known, and tell whether their difference is real."""
    from ..evaluation.compare import evaluate as compare
    from ..images.sources import printable

    *models, data = models_and_data
    if not models:
        typer.echo("visionkit: give a model, or several, and then the data: visionkit evaluate MODEL DATA", err=True)
        raise typer.Exit(2)
    names = [name.strip() for name in labels.split(",")] if labels is not None else None
    try:
        board = compare(models, data, labels=names)
    except VisionkitError as err:
        typer.echo(f"visionkit: {printable(str(err))}", err=True)
        raise typer.Exit(2) from err
    typer.echo(board.model_dump_json() if json else "\n".join(map(printable, str(board).split("\n"))))
    raise typer.Exit(1 if board.failures else 0)
