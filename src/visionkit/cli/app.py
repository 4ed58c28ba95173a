"""The commands, their options, and what they exit with: 0 all well, 1 some inputs failed, 2 wrong usage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import Failure, VisionkitError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One API for seeing and making images.",
)


def main() -> None:
    """The console script."""
    app(prog_name="visionkit")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def classify(
    images: Annotated[list[str], typer.Argument(help="Image files, and folders of them.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="A model's name or a saved folder.", show_default=False)] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels to choose among, with commas between.", show_default=False)
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many labels to show.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Name what pictures show."""
    from ..tasks.classify import classify as answer
    from .output import json_line, text_lines

    names = [name.strip() for name in labels.split(",")] if labels is not None else None
    failed = False
    try:
        for result in answer(iter(_files(images)), names, model=model, on_error="return"):
            failed |= isinstance(result, Failure)
            if json:
                typer.echo(json_line(result, top_k))
            else:
                typer.echo(text_lines(result, top_k), err=isinstance(result, Failure))
    except VisionkitError as err:
        _refuse(err)
    raise typer.Exit(1 if failed else 0)


@app.command()
def models(
    task: Annotated[
        str | None, typer.Option(help="Only those that do this, such as 'classify'.", show_default=False)
    ] = None,
) -> None:
    """List the models that visionkit names itself."""
    from ..models import list_models
    from .output import model_lines

    try:
        entries = list_models(task)
    except VisionkitError as err:
        _refuse(err)
    for line in model_lines(entries):
        typer.echo(line)


@app.command()
def doctor() -> None:
    """Tell what is installed, where models run, and what is on this machine."""
    from .doctor import report

    for line in report():
        typer.echo(line)


def _files(arguments: list[str]) -> list[str | Path]:
    """Files as they are, folders as the pictures in them."""
    from ..images import find_images

    found: list[str | Path] = []
    for argument in arguments:
        if not Path(argument).is_dir():
            found.append(argument)
            continue
        inside = find_images(argument)
        if not inside:
            _refuse(f"there are no images in the folder {argument!r}")
        found += inside
    return found


def _refuse(reason: object) -> NoReturn:
    typer.echo(f"visionkit: {reason}", err=True)
    sys.exit(2)
