"""`generate`: pictures from words."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from ..errors import CapabilityError, Failure, InputError
from ..images import describe
from ..log import log
from ..models.protocols import ImageGenerator
from ..results import GeneratedImage, GeneratedImages, Recipe
from .arguments import guidance, size_argument, text_argument, whole_number
from .driver import Many, OnError, answer, as_sequence, each
from .misfits import fitting
from .resolve import resolve
from .watch import step_bar

if TYPE_CHECKING:
    import torch

    from ..images import Picture

_MAX_SEED = 2**63 - 1


@overload
def generate(
    prompt: str,
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> GeneratedImages: ...


@overload
def generate(
    prompt: Many[str],
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> list[GeneratedImages]: ...


@overload
def generate(
    prompt: Iterator[str],
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> Iterator[GeneratedImages]: ...


@overload
def generate(
    prompt: str,
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> GeneratedImages | Failure: ...


@overload
def generate(
    prompt: Many[str],
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> list[GeneratedImages | Failure]: ...


@overload
def generate(
    prompt: Iterator[str],
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> Iterator[GeneratedImages | Failure]: ...


def generate(
    prompt: Any,
    *,
    model: object = None,
    negative_prompt: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size_wh: tuple[int, int] | None = None,
    seed: int | None = None,
    n: int = 1,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    progress: bool | None = None,
) -> Any:
    """Makes pictures from words.

    The same arguments, seed, machine and versions give the same pictures to the bit. Each carries the recipe that makes
    it again, also inside the PNG that `.save` writes.

    Args:
        prompt: what to show: one text, a sequence of them, or an iterator.
        model: a name such as "diffusers:<folder or repository>", or a model object; there is no default, because it
            would be gigabytes.
        negative_prompt: what to avoid. Most models listen to it only with a guidance scale above 1.
        steps: of denoising; None, here and below: the model's own default, which the recipe then says.
        guidance_scale: how strictly to follow the prompt.
        size_wh: width and height in pixels, as a rule multiples of 8.
        seed: 0 to 2**63 - 1; None draws one for each prompt, which the recipe says. Python's, NumPy's and torch's
            own random states stay untouched.
        n: pictures for each prompt; picture i is the one of `seed + i` alone.
        on_error: "raise" stops at the first bad prompt, with an error that carries the answers before it in
            `.results`; "return" puts a `Failure` in its place.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default" (half precision on a GPU; so are "fast" and "fastest"), or "exact": float32, to the bit what
            the library behind gives.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        `GeneratedImages` for one prompt, a list for a sequence, an iterator for an iterator (one prompt at a time).

    Raises:
        InputError: no model; an empty prompt; an option that the model lacks or cannot take.
        CapabilityError: the model does not make pictures from words.
        ModelError: the model cannot be loaded, or says that it used settings that cannot be.
    """
    count = whole_number("n", n, 1)
    first = None if seed is None else whole_number("seed", seed, 0, _MAX_SEED - count + 1)
    settings = {
        "negative_prompt": None if negative_prompt is None else text_argument("negative_prompt", negative_prompt),
        "steps": None if steps is None else whole_number("steps", steps, 1),
        "guidance_scale": None if guidance_scale is None else guidance(guidance_scale),
        "size_wh": None if size_wh is None else size_argument(size_wh),
    }
    loaded = resolve(model, "generate", device=device, speed=speed)
    if not isinstance(loaded, ImageGenerator):
        raise CapabilityError(f"{getattr(loaded, 'name', type(loaded).__name__)} cannot generate pictures")
    check = getattr(loaded, "check_settings", None)  # a model may have one, to refuse at the call instead of later
    if check is not None:
        check(**settings)

    def work(text: object) -> GeneratedImages:
        words = _prompt(text)
        start = secrets.randbelow(2**32) if first is None else first
        images = tuple(_one(loaded, words, seed=start + i, **settings) for i in range(count))
        return GeneratedImages(images=images, model=loaded.name, source=describe(words))

    several = not _is_single(prompt) and not isinstance(prompt, Iterator)
    if several:
        prompt = as_sequence(prompt)
    prompts = len(prompt) if several else int(_is_single(prompt))  # 0: an iterator
    with step_bar(prompts * count, progress):
        return answer(prompt, each(work), single=_is_single, on_error=on_error, progress=False)


def _is_single(value: object) -> bool:
    return isinstance(value, (str, bytes))  # bytes are then refused as no text, not taken for a sequence of numbers


def _one(model: ImageGenerator, prompt: str, *, seed: int, **settings: Any) -> GeneratedImage:
    made = model.generate_image(prompt, seed=seed, **settings)
    with fitting(model.name, "what it made"):
        return _with_recipe(model, prompt, seed, *made)


def _with_recipe(
    model: ImageGenerator, prompt: str, seed: int, picture: Picture, used: dict[str, Any]
) -> GeneratedImage:
    blocked = bool(used.get("blocked", False))
    if blocked:
        log.warning("%s: the model's safety checker blocked the picture of seed %d", model.name, seed)
    said = {name: value for name, value in used.items() if name != "blocked"}
    recipe = Recipe.from_settings({"size_wh": picture.size, "seed": seed, **said}, model=model.name, prompt=prompt)
    return GeneratedImage(image=picture, recipe=recipe, blocked=blocked)


def _prompt(text: object) -> str:
    words = text_argument("prompt", text)
    if not words.strip():
        raise InputError(f"the prompt {words!r} is empty: say what the picture shall show")
    return words
