"""`diffusers:` names: a text-to-image pipeline of diffusers becomes a model that makes pictures."""

from __future__ import annotations

import inspect
import math
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from ..errors import CapabilityError, InputError, ModelError, ModelLoadError
from ..extras import require
from ..images import Picture, load_image
from ..models.quiet import no_bars
from ..models.steps import step_done
from ..pipeline import choose_device, compute_dtype, full_precision
from .sources import find_pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

_CALLED: Final = {
    "negative_prompt": ("negative_prompt",),
    "steps": ("num_inference_steps",),
    "guidance_scale": ("guidance_scale",),
    "size_wh": ("width", "height"),
}
"""Our option → what diffusers' pipelines call it."""


def load(
    name: str, *, device: str | torch.device | None, speed: str, revision: str | None = None
) -> DiffusersGenerator:
    """Loads a text-to-image pipeline.

    Weights are read as safetensors only; code that a folder or repository brings is never run. A repository that is
    on this machine already is used as it is, without asking the hub; otherwise it is fetched, announced before.

    Args:
        name: a folder that `save_pretrained` wrote, or a repository.
        device: see `choose_device`.
        speed: "default", "fast" or "fastest" (half precision on a GPU), or "exact" (float32).
        revision: a branch, tag or commit of the repository.

    Raises:
        ModelNotFoundError: no such folder; or the repository cannot or must not be fetched.
        ModelLoadError: its files are not as they must be, or name code.
        CapabilityError: it is a pipeline for something else.
        MissingExtraError: diffusers is not installed.
    """
    diffusers = require("diffusers")
    require("transformers", extra="diffusion")  # without it, diffusers complains only when a pipeline is built
    place = choose_device(device)
    dtype = compute_dtype(place, speed)
    folder, commit = find_pipeline(name, revision)
    try:
        with no_bars(require("diffusers.utils.logging"), require("transformers.utils.logging")):
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                str(folder), dtype=dtype, use_safetensors=True, local_files_only=True
            )
    except Exception as err:  # diffusers, transformers and safetensors raise a dozen kinds for broken files
        raise ModelLoadError(f"{folder} cannot be loaded as a diffusers pipeline: {type(err).__name__}: {err}") from err
    pipeline.set_progress_bar_config(disable=True)  # its own would show for each picture
    shown = f"diffusers:{name}" + (f"@{revision}" if revision else "")
    return DiffusersGenerator(pipeline.to(place), name=shown, device=place, speed=speed, commit=commit)


class DiffusersGenerator:
    """A pipeline of diffusers as a model that makes pictures.

    Attributes:
        pipeline: the pipeline itself.
        name: what results call it.
        device: where it runs.
        speed: what it was loaded with: "exact" is float32.
        commit: of the repository that it came from; None for a folder.
    """

    def __init__(
        self, pipeline: Any, *, name: str, device: torch.device, speed: str, commit: str | None = None
    ) -> None:
        self.pipeline = pipeline
        self.name = name
        self.device = device
        self.speed = speed
        self.commit = commit
        self._taken: Mapping[str, inspect.Parameter] = inspect.signature(type(pipeline).__call__).parameters
        self._lock = threading.Lock()  # a scheduler keeps state between the steps of one picture

    def __repr__(self) -> str:
        return f"DiffusersGenerator({self.name}: {self._kind} on {self.device})"

    @property
    def _kind(self) -> str:
        return type(self.pipeline).__name__

    @property
    def size_multiple(self) -> int:
        """Widths and heights must be multiples of this, in pixels."""
        processor = getattr(self.pipeline, "image_processor", None)
        factor: int = getattr(getattr(processor, "config", None), "vae_scale_factor", 0)
        factor = factor or getattr(self.pipeline, "vae_scale_factor", 8)
        patch = getattr(self.pipeline, "patch_size", 1)  # Stable Diffusion 3 keeps it apart from the factor
        return math.lcm(8, factor * (patch if isinstance(patch, int) else 1))

    def check_settings(
        self,
        *,
        negative_prompt: str | None,
        steps: int | None,
        guidance_scale: float | None,
        size_wh: tuple[int, int] | None,
    ) -> None:
        """Refuses what `generate_image` would, before any work.

        Raises:
            InputError: an option that this pipeline lacks, or a size that it cannot make.
        """
        given = {
            "negative_prompt": negative_prompt,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "size_wh": size_wh,
        }
        for option, value in given.items():
            if value is not None and not self._takes(option):
                takes = ", ".join(o for o in _CALLED if self._takes(o)) or "none of them"
                raise InputError(
                    f"{option}={value!r} does not go with {self.name}: a {self._kind} does not use it; "
                    f"of these options it takes: {takes}"
                )
        multiple = self.size_multiple
        if size_wh is not None and any(side % multiple for side in size_wh):
            nearest = tuple(max(1, round(side / multiple)) * multiple for side in size_wh)
            raise InputError(
                f"size_wh={size_wh} does not go with {self.name}: a {self._kind} makes widths and heights that are "
                f"multiples of {multiple}; the nearest is {nearest}"
            )

    def generate_image(
        self,
        prompt: str,
        *,
        negative_prompt: str | None,
        steps: int | None,
        guidance_scale: float | None,
        size_wh: tuple[int, int] | None,
        seed: int,
    ) -> tuple[Picture, dict[str, Any]]:
        """One picture, to the bit what the pipeline itself gives.

        Args:
            prompt: what to make.
            negative_prompt: what to avoid; None here and below: the pipeline's default.
            steps: of denoising, at least 1.
            guidance_scale: how strictly the prompt is followed, at least 0.
            size_wh: in pixels, multiples of `size_multiple`.
            seed: of the noise, from 0 to 2⁶³ − 1.

        Returns:
            The picture, and the settings used, with the pipeline's defaults filled in.

        Raises:
            InputError: an option that this pipeline lacks, or a value that it refuses.
            ModelError: numbers that are none came out.
            CapabilityError: no picture came out.
        """
        self.check_settings(
            negative_prompt=negative_prompt, steps=steps, guidance_scale=guidance_scale, size_wh=size_wh
        )
        width, height = size_wh or (None, None)
        given = {
            "negative_prompt": negative_prompt,
            "num_inference_steps": steps,
            "guidance_scale": guidance_scale,
            "width": width,
            "height": height,
            # on the CPU wherever the pipeline runs, so that a seed means the same noise everywhere
            "generator": torch.Generator(device="cpu").manual_seed(seed),
        }
        arguments: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if "callback_on_step_end" in self._taken:
            arguments["callback_on_step_end"] = _tell_step
        if "output_type" in self._taken:
            arguments["output_type"] = "np"  # as 8 bits, a number that is none would be black
        answer = self._call(prompt, arguments)
        picture = self._picture(answer.images[0])
        flags = getattr(answer, "nsfw_content_detected", None)
        options = {"negative_prompt": negative_prompt, "steps": steps, "guidance_scale": guidance_scale}
        used = {o: self._default(o) if value is None else value for o, value in options.items()}
        used |= {"size_wh": picture.size, "seed": seed, "blocked": bool(flags and flags[0])}
        return picture, {**used, **self._settings()}

    def _settings(self) -> dict[str, Any]:
        """What a recipe says of the model itself, whatever it is asked for."""
        scheduler = getattr(self.pipeline, "scheduler", None)
        return {
            "pipeline": self._kind,
            "scheduler": type(scheduler).__name__ if scheduler is not None else None,
            "commit": self.commit,
            "device": self.device.type,
            "speed": self.speed,
            "versions": {"torch": str(torch.__version__), "diffusers": str(require("diffusers").__version__)},
        }

    def _picture(self, image: Any) -> Picture:
        if isinstance(image, np.ndarray) and not np.isfinite(image).all():
            raise ModelError(
                f"{self.name} ({self._kind}) made a picture of numbers that are none (NaN or infinite): its weights "
                f"are damaged, or overflow in half precision, which speed='exact' avoids"
            )
        return load_image(image)

    def _call(self, prompt: str, arguments: dict[str, Any]) -> Any:
        try:
            with self._lock, full_precision(self.device, self.speed):
                answer = self.pipeline(prompt=prompt, **arguments)
        except (ValueError, TypeError) as err:  # how the pipelines' check_inputs refuses
            raise InputError(f"{self.name} ({self._kind}) refuses these settings: {err}") from err
        if len(getattr(answer, "images", ())) != 1:
            raise CapabilityError(
                f"{self.name} ({self._kind}) answered a prompt with {type(answer).__name__}, no picture"
            )
        return answer

    def _takes(self, option: str) -> bool:
        if option == "negative_prompt" and "true_cfg_scale" in self._taken:
            # Flux and its kin take a negative prompt, and then ignore it unless this is above 1
            return bool((self._taken["true_cfg_scale"].default or 0) > 1)
        return all(name in self._taken for name in _CALLED[option])

    def _default(self, option: str) -> Any:
        """The pipeline's own value for an option; None where it has none, or says it elsewhere."""
        value = self._taken[_CALLED[option][0]].default if self._takes(option) else None
        return value if isinstance(value, (str, int, float)) else None


def _tell_step(pipeline: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    step_done(getattr(pipeline, "num_timesteps", 0))  # some schedulers take more steps than they are asked for
    return tensors
