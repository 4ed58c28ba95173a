"""The table of the contract: every kind of model, the verbs that it can do, and how one is made.

A new kind is one row in `KINDS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import visionkit as vk
from support.servers import close_when_answered

LABELS = ["cat", "cup of coffee", "rocket"]


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    `make` gets pytest's `request`, for fixtures, and returns what `model=` takes: a name, a folder or an object.
    `options` are the arguments that a verb needs with this kind. `steady` says that the same question has the same
    answer, and other pictures have others: not so with random weights that choose words by chance.
    """

    name: str
    make: Callable[[Any], object]
    verbs: tuple[str, ...]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    steady: bool = True


def kept(make):
    """Made once for all tests: what takes its time, and is changed by none of them."""
    made = []

    def first(request):
        if not made:
            made.append(make(request))
        return made[0]

    return first


def own_module(_):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
        )
    return vk.wrap_model(module, preprocess=vk.Preprocess(size_wh=(32, 32)), labels=LABELS)


@kept
def saved_folder(request):
    return vk.save_model(own_simple(), request.getfixturevalue("tmp_path_factory").mktemp("saved") / "model")


@kept
def onnx_file(request):
    folder = request.getfixturevalue("tmp_path_factory").mktemp("onnx")
    return f"onnx:{vk.export_model(own_simple(), folder / 'a.onnx')}"


def own_simple():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vk.load_model("visionkit:simple_cnn", num_classes=3)


@kept
def tuned(request):
    photos = request.getfixturevalue("photos")
    data = [(path, label) for path in photos for label in (path.stem,) for _ in range(2)]
    return vk.fine_tune(data, model="colors:mean", epochs=2, validation=data).model


def random_weights(name):
    return kept(lambda _: vk.load_model(name, pretrained=False, **({"num_classes": 5} if "test_" in name else {})))


def at_llama(prefix, path):
    def make(request):
        base_url = request.getfixturevalue("llama") + path
        model = vk.load_model(f"{prefix}:tiny", base_url=base_url, api_key="none", timeout_seconds=120)
        request.addfinalizer(lambda: close_when_answered(model))
        return model

    return make


def by_width(seen):
    """An answer that tells the pictures apart: by the width that arrived, as a label where one was asked for."""
    width = seen.image().width
    chosen = LABELS[width // 20 % 3]
    return json.dumps({"label": chosen}) if "cup of coffee" in json.dumps(seen.body) else f"{width} pixels wide"


def at_loopback(prefix):
    def make(request):
        request.getfixturevalue("vendor").text = by_width
        return request.getfixturevalue("connect")(prefix)

    return make


ZERO_SHOT = {"classify": {"labels": LABELS}, "similarity": {"texts": LABELS}}
ASKED = {"classify": {"labels": LABELS}, "ask": {"prompt": "what is this?", "max_tokens": 8}}

KINDS = [
    Kind("embedded", lambda _: "visionkit:efficientnet_lite0", ("classify", "embed", "fine_tune")),
    Kind("torchvision", random_weights("torchvision:resnet18"), ("classify", "embed", "fine_tune")),
    Kind(
        "timm",
        random_weights("timm:test_resnet"),
        ("classify", "embed", "explain", "fine_tune"),
        {"explain": {"measured": False}},
    ),
    Kind(
        "transformers classifier",
        lambda request: f"transformers:{request.getfixturevalue('vit_folder')}",
        ("classify", "embed", "fine_tune"),
    ),
    Kind("own module", own_module, ("classify", "embed", "explain", "fine_tune")),
    Kind("onnx file", onnx_file, ("classify", "embed", "fine_tune")),
    Kind("plug-in", lambda _: "colors:mean", ("classify", "embed", "fine_tune")),
    Kind("saved folder", saved_folder, ("classify", "embed", "fine_tune")),
    Kind("tuned head", tuned, ("classify", "embed", "fine_tune")),
    Kind(
        "open_clip",
        lambda request: f"open_clip:{request.getfixturevalue('tiny_folder')}",
        ("classify", "embed", "similarity", "embed_texts", "fine_tune"),
        ZERO_SHOT,
    ),
    Kind(
        "transformers",
        lambda request: f"transformers:{request.getfixturevalue('rt_detr_folder')}",
        ("detect",),
        {"detect": {"threshold": 0.3}},
    ),
    Kind(
        "diffusers",
        lambda request: f"diffusers:{request.getfixturevalue('diffusion_folder')}",
        ("generate",),
        {"generate": {"steps": 2, "seed": 7}},
    ),
    Kind("openai-chat", at_llama("openai-chat", "/v1"), ("classify", "ask"), ASKED, steady=False),
    Kind("anthropic", at_llama("anthropic", ""), ("ask",), ASKED, steady=False),
    Kind("anthropic at loopback", at_loopback("anthropic"), ("classify", "ask"), ASKED),
    Kind("openai at loopback", at_loopback("openai"), ("classify", "ask"), ASKED),
]
