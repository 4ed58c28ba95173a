"""`visionkit explain`: a heat map of one picture, as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ImageError, SourceError, VisionkitError
from ..images.sources import printable


def explain(  # noqa: PLR0917 - typer gives them by name
    image: Annotated[str, typer.Argument(help="An image file or a URL.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write, .png.", show_default=False)],
    model: Annotated[str, typer.Option(help="A model's name or a saved folder.")] = "visionkit:efficientnet_lite0",
    label: Annotated[
        str | None, typer.Option(help="The answer to explain; without it, the model's own.", show_default=False)
    ] = None,
    method: Annotated[str, typer.Option(help="grad_cam, integrated_gradients or occlusion.")] = "grad_cam",
    layer: Annotated[str | None, typer.Option(help="The layer that grad_cam looks at.", show_default=False)] = None,
) -> None:
    """Show where in a picture a model's answer comes from."""
    from ..images import load_image
    from ..tasks.explain import explain as answer

    how: Any = method  # the verb refuses what is none
    try:
        picture = load_image(image)  # once: a URL would be fetched again to draw on
        heat = answer(picture, model=model, label=label, method=how, layer=layer)
        heat.save(output, picture)
    except VisionkitError as err:
        typer.echo(f"visionkit: {printable(str(err))}", err=True)
        sys.exit(1 if isinstance(err, (SourceError, ImageError)) else 2)
    typer.echo(f"{printable(str(output))}: {printable(heat.label)} {heat.score:.2%}, {heat.method}")
    typer.echo(f"faithfulness {heat.faithfulness:+.2f} (above 0: better than chance)")
