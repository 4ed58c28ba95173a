"""`open_clip:` names: CLIP, SigLIP, CoCa and their kin as image and text embedders."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ..errors import CapabilityError, InputError, ModelLoadError, VisionkitError
from ..extras import require
from ..models.forms import Form, Forms, inference
from ..models.snapshots import whole_tokenizer
from ..pipeline import Batch, Preprocess, choose_device
from .open_clip_names import Blueprint, Remote, read_name
from .text_towers import TOKENIZER, TOWER, check_text_folder, is_tower, text_folder

PROMPTS: Final = ("a photo of a {}.",)
"""For models that name none of their own; of the paper "Learning Transferable Visual Models" (2021), section 3.1.4."""

_GREY: Final = 114  # what `Preprocess` pads with
_tokenizing = threading.Lock()  # fast tokenizers are not to be used by two threads at once


class OpenClipModel:
    """A model of open_clip; satisfies `ImageEmbedder`, `TextEmbedder`, `HasModule` and `Savable`.

    Attributes:
        name: what results call it.
        module: the whole network, both towers, plain float32, in evaluation mode, on `device`. What runs is its form:
            see `models.forms`.
        preprocess: how it wants its pictures, from the model's own configuration.
        device: where it runs.
        speed: "default", "fast", "fastest" or "exact"; see `load_model`.
        score_activation: "sigmoid" for models trained so (SigLIP: those with a bias), else "softmax".
        prompts: templates for labels.
    """

    def __init__(
        self,
        module: nn.Module,
        blueprint: Blueprint,
        *,
        name: str,
        preprocess: Preprocess,
        device: torch.device,
        speed: str,
    ) -> None:
        self.name = name
        self.preprocess = preprocess
        self.device = device
        self.speed = speed
        self.module = module.to(device).float().eval()
        self._forms = Forms(device, speed)
        self.score_activation: Literal["softmax", "sigmoid"] = "sigmoid" if _has_bias(module) else "softmax"
        self.prompts = PROMPTS
        self._blueprint = blueprint
        self._tokenizer: Any = None

    @property
    def logit_scale(self) -> float:
        """What a cosine is multiplied by: the exponential of the network's parameter as it is now."""
        return math.exp(_number(self.module.logit_scale))

    @property
    def logit_bias(self) -> float:
        """What is then added; 0 for models without."""
        return _number(self.module.logit_bias) if _has_bias(self.module) else 0.0

    def image_features(self, batch: Batch) -> Tensor:
        """Float32 (N, D), of any length; the image tower's output."""
        with inference(self.device, self.speed):
            features: Tensor = self._form(batch.pixels).run(_encode_image, batch.pixels)[0].float()
        return features

    def plain_features(self, pixels: Tensor) -> Tensor:
        """As `image_features`, for normalised float32 pixels, by the plain network itself: gradients flow."""
        network: Any = self.module
        features: Tensor = network.encode_image(pixels).float()
        return features

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Float32 (N, D), of any length; the text tower's output. What exceeds the model's context is cut off.

        Raises:
            ModelNotFoundError: the tokenizer is neither here nor to be fetched.
            ModelLoadError: its files are broken.
        """
        with _tokenizing:
            if self._tokenizer is None:
                self._tokenizer = _make_tokenizer(self._blueprint, self.name)
            tokens = self._tokenizer(list(texts))
        with inference(self.device, self.speed):
            network: Any = self._form().module
            features: Tensor = network.encode_text(tokens.to(self.device)).float()
        return features

    def calibrating(self) -> AbstractContextManager[None]:
        """For speed="fastest": within it pictures come by for int8 to learn from."""
        return self._forms.calibrating(_encode_image)

    def _form(self, pixels: Tensor | None = None) -> Form:
        width, height = self.preprocess.size_wh
        return self._forms.of(self.module, None, (3, height, width), _encode_image, pixels)

    def architecture(self) -> dict[str, Any]:
        """See `Savable`: the whole configuration, so that neither the folder nor open_clip's table is needed again.

        Raises:
            CapabilityError: files of transformers belong to it, which a saved folder does not hold.
        """
        text = self._blueprint.config["model_cfg"]["text_cfg"]
        elsewhere = text.get("hf_tokenizer_name") or text.get("hf_model_name")
        if elsewhere:
            raise CapabilityError(
                f"{self.name} cannot be saved: the folder would not be complete, as its tokenizer is made of files of "
                f"transformers ({elsewhere!r}), which a saved folder does not hold; keep the folder that it came from"
            )
        options = {"pretrained": False, "config": deepcopy(self._blueprint.config)}
        return {"model": f"open_clip:{self._blueprint.label}", "options": options}

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.module.parameters())
        return f"{type(self).__name__}({self.name!r}, {count:,} parameters, {self.device}, {self.preprocess.size_wh})"


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    pretrained: bool = True,
    config: Mapping[str, Any] | None = None,
) -> OpenClipModel:
    """Loads a model of open_clip.

    Weights that were trained with QuickGELU get it, also under the architecture's plain name, where open_clip itself
    warns and goes on with another activation: "ViT-B-32/openai" is "ViT-B-32-quickgelu/openai".

    Args:
        name: an architecture and a tag, "ViT-B-32/laion2b_s34b_b79k"; an architecture, with `pretrained=False`; or a
            folder in the hub's layout: `open_clip_config.json` with `open_clip_model.safetensors` or
            `open_clip_pytorch_model.bin`.
        device: see `choose_device`.
        speed: "default", "fast", "fastest" or "exact"; see `load_model`.
        pretrained: False: random weights, and nothing is fetched.
        config: builds the network of this configuration, in the layout of `open_clip_config.json`, whatever the name.

    Raises:
        MissingExtraError: open_clip is not installed.
        ModelNotFoundError: no such architecture, tag or folder, or weights that cannot be fetched.
        ModelLoadError: files that are missing, broken or do not fit; pictures wanted in a way that is not offered.
        InputError: `config` with weights.
    """
    open_clip: Any = require("open_clip")
    chosen, full = choose_device(device), f"open_clip:{name}"
    blueprint = read_name(open_clip, name, pretrained=pretrained, config=config)
    module = _build(open_clip, blueprint, full)
    preprocess = _preprocess(open_clip, module, blueprint.config["preprocess_cfg"], full)
    weights = blueprint.weights
    if isinstance(weights, Remote):
        weights = weights.fetch(open_clip, sum(p.numel() for p in module.parameters()) * 4 / 1e6)
    if weights is not None:
        with _load_errors(full, f"the weights in {weights.name} cannot be loaded"):
            open_clip.load_checkpoint(module, str(weights), weights_only=True)
    return OpenClipModel(module, blueprint, name=full, preprocess=preprocess, device=chosen, speed=speed)


def _build(open_clip: Any, blueprint: Blueprint, full: str) -> nn.Module:
    """The network of a configuration, as `open_clip.create_model` chooses and builds it, with random weights.

    Not by `create_model` itself: that takes no configuration as a value, and logs through functions that set up the
    root logger of the process.
    """
    settings = deepcopy(blueprint.config["model_cfg"])
    text, vision = settings["text_cfg"], settings["vision_cfg"]
    custom = settings.pop("custom_text", False)
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        custom = True
        text["hf_model_pretrained"] = False
        with _load_errors(full, "the text tower's configuration cannot be used"):
            tower = text_folder(text["hf_model_name"], full, "text tower's configuration", TOWER, is_tower)
        text["hf_model_name"] = str(tower)
    kind = "CLIP" if not custom else "CoCa" if "multimodal_cfg" in settings else "CustomTextCLIP"
    with _load_errors(full, f"open_clip cannot build a {kind} of its configuration"):
        module: nn.Module = getattr(open_clip, kind)(**settings)
    return module


def _make_tokenizer(blueprint: Blueprint, full: str) -> Any:
    tokenizers: Any = require("open_clip.tokenizer")
    text = blueprint.config["model_cfg"]["text_cfg"]
    settings = {"context_length": text.get("context_length", tokenizers.DEFAULT_CONTEXT_LENGTH)}
    settings |= text.get("tokenizer_kwargs") or {}
    repository = text.get("hf_tokenizer_name")
    with _load_errors(full, "the tokenizer cannot be loaded"):
        if not repository:
            return tokenizers.SimpleTokenizer(**settings)
        settings |= {"tokenizer_mode": text.get("tokenizer_mode"), "trust_remote_code": False}
        folder = blueprint.tokenizer
        if folder is None:
            folder = text_folder(repository, full, "tokenizer", TOKENIZER, whole_tokenizer)
        check_text_folder(folder, full)
        return tokenizers.HFTokenizer(str(folder), local_files_only=True, **settings)


def _preprocess(open_clip: Any, module: nn.Module, overrides: dict[str, Any], full: str) -> Preprocess:
    """How the model's own configuration wants pictures, as our value; open_clip's defaults where it is silent.

    Raises:
        ModelLoadError: in a way that `Preprocess` cannot say.
    """
    transform = open_clip.transform
    with _load_errors(full, "its 'preprocess_cfg' cannot be used"):
        wish = transform.merge_preprocess_dict(transform.PreprocessCfg(), overrides)
        visual: Any = module.visual
        size = visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        mean, std = (_three(wish[key]) for key in ("mean", "std"))
        mode = wish["resize_mode"] or "shortest"
        if wish["mode"] != "RGB":
            raise ModelLoadError(f"{full} wants pictures of mode {wish['mode']!r}; only RGB is offered")
        if mode == "shortest" and width != height:
            raise ModelLoadError(
                f"{full} wants the short side resized to {width}×{height}; only squares are offered so"
            )
        if mode == "longest" and wish["fill_color"] != _GREY:
            raise ModelLoadError(
                f"{full} wants padding with {wish['fill_color']} (resize_mode 'longest'); only {_GREY} is offered"
            )
        ours: dict[str, Literal["shortest", "squash", "letterbox"]]
        ours = {"shortest": "shortest", "squash": "squash", "longest": "letterbox"}
        if mode not in ours:
            raise ModelLoadError(f"{full} wants resize_mode {mode!r}; offered are {', '.join(ours)}")
        return Preprocess(
            size_wh=(int(width), int(height)),
            resize=ours[mode],
            interpolation="bilinear" if wish["interpolation"] == "bilinear" else "bicubic",  # as open_clip's inference
            mean=mean,
            std=std,
        )


def _three(value: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, (list, tuple)) else (float(value),) * 3


def _encode_image(network: Any, _: None, pixels: Tensor) -> tuple[Any]:
    return (network.encode_image(pixels),)


def _has_bias(module: Any) -> bool:
    return module.logit_bias is not None


def _number(parameter: Any) -> float:
    return float(parameter.detach().reshape(()))


@contextmanager
def _load_errors(full: str, problem: str) -> Iterator[None]:
    """The seam to open_clip, timm and transformers: whatever they raise becomes an error of ours."""
    try:
        yield
    except InputError as err:
        raise ModelLoadError(f"{full}: {problem}: {err}") from err
    except VisionkitError:
        raise
    except Exception as err:
        reason = " ".join(str(err).split())[:300]
        raise ModelLoadError(f"{full}: {problem} ({type(err).__name__}: {reason})") from err
