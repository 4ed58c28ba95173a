"""`GeneratedImages`: pictures that a model made, each with the recipe that makes it again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Final, Self, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import __version__
from ..errors import InputError
from ..images import Picture, contact_sheet, describe, read_png_text, write_png
from ..images.thumbnails import picture_uri
from . import html
from .values import ColumnKind, Result

KEYWORD: Final = "visionkit"
"""The keyword of the recipe inside a PNG file."""

_SHORT: Final = 40

_LISTED: Final = 12
"""Seeds that a notebook names."""


class Recipe(BaseModel):
    """All that is needed to make a picture again: `vk.generate(**recipe.arguments())`.

    Attributes:
        model: the model's name.
        prompt: what was asked for.
        negative_prompt: what was to be avoided; None: nothing, or the model has no such option.
        steps: of denoising; None: the model does not say.
        guidance_scale: how strictly the prompt was followed; None: the model does not say.
        size_wh: of the picture, in pixels.
        seed: of this picture alone.
        pipeline: the class that made it, where there is one.
        scheduler: the class that chose the noise levels, where there is one.
        commit: of the repository that the weights came from, where they came from one.
        device: "cpu", "cuda" or "mps", for models of this machine; another may round otherwise.
        speed: what the model was loaded with, for models of this machine: "exact" is float32.
        versions: package → version; another version may give another picture.
        more: what else the model says that it used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str
    prompt: str
    negative_prompt: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    size_wh: tuple[int, int]
    seed: int
    pipeline: str | None = None
    scheduler: str | None = None
    commit: str | None = None
    device: str | None = None
    speed: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    more: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], *, model: str, prompt: str) -> Recipe:
        """A recipe from what a model says that it used; what has no field of its own goes to `more`."""
        known = {k: v for k, v in settings.items() if k in cls.model_fields and k not in ("versions", "more")}
        return cls(
            **{**known, "model": model, "prompt": prompt},
            versions={"visionkit": __version__, **settings.get("versions", {})},
            more={k: v for k, v in settings.items() if k not in cls.model_fields},
        )

    @classmethod
    def from_png(cls, path: str | os.PathLike[str]) -> Recipe:
        """The recipe inside a PNG file that `GeneratedImage.save` wrote.

        Raises:
            SourceError: no such file.
            ImageDecodeError: no PNG file.
            InputError: it has no recipe, or one that cannot be read.
        """
        text = read_png_text(path, KEYWORD)
        if text is None:
            raise InputError(
                f"{describe(path)} has no recipe inside: visionkit did not save it, or another program did later"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as err:
            raise InputError(
                f"the recipe inside {describe(path)} cannot be read; a newer visionkit may have written it: "
                f"{err.errors()[0]['msg']} ({'.'.join(map(str, err.errors()[0]['loc']))})"
            ) from err

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments with which `vk.generate` makes this picture again, on the same kind of device.

        A repository's branch may have moved since: the model is named with the commit, where there is one.
        """
        said = {
            name: getattr(self, name)
            for name in ("negative_prompt", "steps", "guidance_scale", "size_wh", "device", "speed")
            if getattr(self, name) is not None
        }
        model = f"{self.model.partition('@')[0]}@{self.commit}" if self.commit else self.model
        return {"prompt": self.prompt, "model": model, "seed": self.seed, **said}

    def __repr__(self) -> str:
        width, height = self.size_wh
        return f"Recipe({_short(self.prompt)!r}, {width}×{height}, seed {self.seed}; {self.model})"

    def __str__(self) -> str:
        return repr(self)


class GeneratedImage(BaseModel):
    """One picture that a model made.

    Attributes:
        image: mode RGB; kept out of JSON.
        recipe: what makes it again.
        blocked: the model's safety checker put another picture, a black one as a rule, in its place.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, extra="forbid")

    image: Picture = Field(exclude=True)
    recipe: Recipe
    blocked: bool = False

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Saves the picture as PNG with its recipe inside, as JSON under "visionkit"; see `Recipe.from_png`.

        The file is there as a whole or not at all. Other formats are refused: they would lose the recipe or change
        pixels; save `.image` itself for those.

        Returns:
            The path.

        Raises:
            InputError: another suffix than `.png`, or a file that cannot be written.
        """
        return write_png(self.image, _png(path), {KEYWORD: json.dumps(self.recipe.model_dump(mode="json"))})

    def __repr__(self) -> str:
        return f"GeneratedImage({'blocked, ' if self.blocked else ''}{self.recipe!r})"

    def __str__(self) -> str:
        return repr(self)

    def _repr_png_(self) -> bytes:
        return _png_bytes(self.image)


class GeneratedImages(Result, Sequence[GeneratedImage]):
    """The pictures that a model made of one prompt, in the order of their seeds.

    Attributes:
        images: the pictures, each with its recipe; also by index and by iteration.
        source: the prompt.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        **Result.table_columns,
        "seed": "integer",
        "size_wh": "integers",
        "steps": "integer",
        "guidance_scale": "number",
        "negative_prompt": "text",
        "pipeline": "text",
        "scheduler": "text",
        "commit": "text",
        "device": "text",
        "speed": "text",
        "versions": "json",
        "more": "json",
        "blocked": "flag",
    }

    images: tuple[GeneratedImage, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.images:
            raise ValueError("there must be at least one picture")
        return self

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Saves one picture under the path, several under numbered ones: `out-0.png`, `out-1.png`, ….

        Returns:
            The paths, in order.

        Raises:
            InputError: as `GeneratedImage.save`.
        """
        target = _png(path)
        if len(self.images) == 1:
            return (self.images[0].save(target),)
        digits = len(str(len(self.images) - 1))
        return tuple(
            image.save(target.with_name(f"{target.stem}-{index:0{digits}}{target.suffix}"))
            for index, image in enumerate(self.images)
        )

    def contact_sheet(self, columns: int | None = None) -> Picture:
        """All pictures on one, in rows from the upper left; see `images.contact_sheet`."""
        return contact_sheet([image.image for image in self.images], columns)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[GeneratedImage]:  # type: ignore[override]  # pydantic's own gives pairs of fields
        return iter(self.images)

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[GeneratedImage, ...]: ...
    def __getitem__(self, index: int | slice) -> GeneratedImage | tuple[GeneratedImage, ...]:
        return self.images[index]

    def __repr__(self) -> str:
        width, height = self.images[0].recipe.size_wh
        seeds = [image.recipe.seed for image in self.images]
        span = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}–{seeds[-1]}"
        blocked = sum(image.blocked for image in self.images)
        note = f", {blocked} blocked" if blocked else ""
        return f"GeneratedImages({len(self)} of {width}×{height}, {span}{note}: {_short(self.source)!r}; {self.model})"

    def table_rows(self) -> Iterator[dict[str, Any]]:
        """A row for each picture: its recipe."""
        for image in self.images:
            said = image.recipe.model_dump(exclude={"model", "prompt"})
            yield {"source": self.source, "model": self.model, **said, "blocked": image.blocked}

    def _repr_html_(self) -> str:
        width, height = self.images[0].recipe.size_wh
        seeds = ", ".join(str(image.recipe.seed) for image in self.images[:_LISTED])
        more = ", …" if len(self) > _LISTED else ""
        blocked = sum(image.blocked for image in self.images)
        warned = [html.warning(f"{blocked} blocked by the model's safety checker")] if blocked else []
        sheet = html.image(picture_uri(self.contact_sheet(), html.SHOWN), self.source)
        below = html.note(f"{len(self)} of {width}×{height}", f"seed {seeds}{more}", self.model)
        return html.card(sheet, html.paragraph(self.source), *warned, below)


def _png(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise InputError(
            f"cannot save {describe(path)}: a generated picture is saved as .png, which keeps its pixels and "
            "carries its recipe; for another format save the picture alone, result[0].image.save(…)"
        )
    return target


def _png_bytes(picture: Picture) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
