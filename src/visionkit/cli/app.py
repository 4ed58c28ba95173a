"""The commands, their options, and what they exit with: 0 all well, 1 some inputs failed, 2 wrong usage."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import Failure, VisionkitError
from .evaluate import evaluate
from .explain import explain
from .export import export
from .train import train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One API for seeing and making images.",
)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # no terminal's encoding may end the command at a name
            stream.reconfigure(errors="backslashreplace")
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
def classify(  # noqa: PLR0917 - typer gives them by name
    images: Annotated[list[str], typer.Argument(help="Image files, folders of them, and URLs.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="A model's name or a saved folder.", show_default=False)] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels to choose among, with commas between.", show_default=False)
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many labels to show.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="A table, as CSV.")] = False,
) -> None:
    """Name what pictures show."""
    from ..tasks.classify import classify as answer
    from .output import csv_head, csv_row, json_line, text_lines

    if json and csv:
        _refuse("--json and --csv exclude each other")
    names = [name.strip() for name in labels.split(",")] if labels is not None else None
    failed = False
    try:
        files = _files(images)
        answers = answer(iter(files), names, model=model, on_error="return")
        if csv:
            typer.echo(csv_head(top_k), nl=False)
        for file, result in zip(files, answers, strict=True):
            failed |= isinstance(result, Failure)
            if json:
                typer.echo(json_line(result, top_k, file))
            elif csv:
                typer.echo(csv_row(result, top_k), nl=False)
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
def verify(
    folder: Annotated[Path, typer.Argument(help="A saved model, or an exported file.", show_default=False)],
    trusted: Annotated[
        bool, typer.Option("--trusted", help="The .pt2 file is your own: torch runs code that it holds.")
    ] = False,
) -> None:
    """Check that a saved or exported model still answers as when it was written."""
    from ..errors import ModelLoadError
    from ..images.sources import printable
    from ..models.verify import verify as check

    try:
        report = check(folder, trusted=trusted)
    except ModelLoadError as err:
        typer.echo(f"visionkit: {printable(str(err))}", err=True)
        raise typer.Exit(1) from err
    except VisionkitError as err:
        _refuse(err)
    typer.echo(printable(str(report)))
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def doctor() -> None:
    """Tell what is installed, where models run, and what is on this machine."""
    from .doctor import report

    for line in report():
        typer.echo(line)


app.command()(evaluate)
app.command()(explain)
app.command()(export)
app.command()(train)


def _files(arguments: list[str]) -> list[str | Path]:
    """Files and URLs as they are, folders as the pictures in them."""
    from ..images import find_images

    found: list[str | Path] = []
    for argument in arguments:
        if "://" in argument or not os.path.isdir(argument):  # noqa: PTH112 - Path's fails at names that are too long
            found.append(argument)
            continue
        inside = find_images(argument)
        if not inside:
            _refuse(f"there are no images in the folder {argument!r}")
        found += inside
    return found


def _refuse(reason: object) -> NoReturn:
    from ..images.sources import printable

    typer.echo(f"visionkit: {printable(str(reason))}", err=True)
    sys.exit(2)
