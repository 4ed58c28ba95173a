"""`visionkit export`: a model as one file for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import SaveError, VisionkitError
from ..images.sources import printable


def export(
    model: Annotated[str, typer.Argument(help="A saved folder or a model's name.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The file to write, .onnx or .pt2.", show_default=False)],
    format: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(help="onnx or torch; by default what the file's name says.", show_default=False)
    ] = None,
) -> None:
    """Write a model to one file for other programs, ONNX or torch.export, and prove it."""
    from ..models import load_model
    from ..models.export import FORMATS, export_model

    named: Any = format or next((f for f, ending in FORMATS.items() if output.suffix == ending), "onnx")
    try:
        export_model(load_model(model, device="cpu"), output, format=named)
    except (VisionkitError, OSError) as err:
        typer.echo(f"visionkit: {printable(str(err))}", err=True)
        sys.exit(1 if isinstance(err, (SaveError, OSError)) and not isinstance(err, ImportError) else 2)
    again = f"visionkit verify{' --trusted' if named == 'torch' else ''}"
    typer.echo(f"{printable(str(output))}: answers as the model does; check again with: {again}")
