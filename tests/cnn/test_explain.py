"""Explanations: the right layer, captum's own numbers, heat where the cat is, and better than chance."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from skimage import data as photographs
from sklearn.datasets import load_sample_image
from torch import nn

import visionkit as vk
from visionkit.cnn.explain import Explainer
from visionkit.cnn.faithfulness import blurred, faithfulness
from visionkit.cnn.grad_cam import grad_cam, last_layer
from visionkit.cnn.looking import Opened
from visionkit.errors import CapabilityError, InputError, MissingExtraError, ModelError
from visionkit.tasks.heat import heat_of
from visionkit.testing import FakeClassifier

FACE_XYXY = (120, 70, 345, 275)
"""Chelsea's eyes, nose and muzzle, marked by hand."""


@pytest.fixture(scope="module")
def lite():
    return vk.load_model("visionkit:efficientnet_lite0", device="cpu")


@pytest.fixture(scope="module")
def of_lite(lite):
    return Explainer(lite, measured=False)


def random(name, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vk.load_model(name, pretrained=False, device="cpu", **options)


def pixels_of(model, *sources):
    return next(vk.Batches(sources, model.preprocess, device="cpu", speed="exact")).pixels


def share(values, box_xyxy):
    left, top, right, bottom = box_xyxy
    return values[top:bottom, left:right].sum() / values.sum()


def test_the_heat_of_a_cat_is_on_its_face(of_lite, cat):
    found = of_lite(cat, "tabby")
    assert found.values.shape == (300, 451)
    assert (found.label, found.layer, found.method) == ("tabby", "top", "grad_cam")
    assert share(found.values, FACE_XYXY) >= 0.6
    everywhere = of_lite.explain(next(vk.Batches([cat], of_lite.opened.preprocess, device="cpu")))[0]
    even = everywhere.model_copy(update={"heat": np.ones((7, 7), np.float32)})
    assert share(found.values, FACE_XYXY) > share(even.values, FACE_XYXY)
    assert found.score == pytest.approx(
        vk.classify(cat, model="visionkit:efficientnet_lite0").scores["tabby"], abs=0.02
    )


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("visionkit:efficientnet_lite0", "top"),
        ("visionkit:simple_cnn", "features.7"),
        ("timm:test_resnet", "layer4"),
        ("timm:test_efficientnet", "bn2"),
    ],
)
def test_grad_cam_is_captums(name, layer, photos):
    model = random(name)
    opened = Opened(model)
    chosen = last_layer(opened)
    assert chosen.name == layer
    pixels, targets = pixels_of(model, *photos[:2]), torch.tensor([3, 7])
    ours = grad_cam(opened, chosen, pixels, targets)
    theirs = LayerGradCam(model.module, model.module.get_submodule(layer)).attribute(
        pixels, targets, relu_attributions=True
    )
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-5, rtol=1e-5)


def test_the_other_methods_are_captums(cat):
    model = random("visionkit:simple_cnn")
    model.preprocess = vk.Preprocess(size_wh=(28, 28))
    pixels = pixels_of(model, cat)
    options = {"baselines": blurred(pixels), "target": 4}
    exact = IntegratedGradients(model.module).attribute(pixels, n_steps=32, **options).sum(1).relu()[0]
    windows = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2)}
    lost = Occlusion(model.module).attribute(pixels, **windows, **options).mean(1).relu()[0].detach()
    for method, theirs in (("integrated_gradients", exact), ("occlusion", lost)):
        ours = Explainer(model, method=method, measured=False)(cat, "class 4")
        peak = theirs.flatten().quantile(0.995)
        np.testing.assert_allclose(ours.heat, (theirs / peak).clamp(0, 1), atol=1e-4)
        assert ours.layer is None


def test_the_tokens_of_a_transformer_are_laid_out_as_its_patches(cat):
    explain = Explainer(random("timm:test_vit"), measured=False)
    layer = explain.layer
    assert (layer.name, layer.skipped, layer.grid_hw) == ("blocks.5.norm1", 1, (10, 10))
    tokens = torch.arange(101.0).reshape(1, 101, 1).expand(2, 101, 64)
    assert torch.equal(layer.maps(tokens)[1, 5], torch.arange(1.0, 101).reshape(10, 10))
    found = explain(cat)
    assert found.heat.shape == (10, 10)
    assert found.heat.max() == pytest.approx(1)
    assert np.unique(found.heat).size > 20


def test_a_head_of_zeros_hides_no_layer(cat):
    model = random("timm:test_vit")
    nn.init.zeros_(model.module.head.weight)
    explain = Explainer(model, measured=False)
    assert explain.layer.name == "blocks.5.norm1"
    assert explain(cat).heat.max() == 0


def test_the_channels_may_come_last():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, 2, 1)
            self.turned = nn.LayerNorm(5)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.turned(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model = vk.wrap_model(Last(), preprocess=vk.Preprocess(size_wh=(24, 16)), labels=["a", "b"], device="cpu")
    layer = last_layer(Opened(model))
    assert (layer.name, layer.layout, layer.grid_hw, layer.channels) == ("turned", "last", (8, 12), 5)


def test_the_heat_is_worth_more_than_chance(lite, cat):
    found = vk.explain(cat, model=lite)
    assert found.faithfulness > 0
    opened = Opened(lite)
    pixels, heat = pixels_of(lite, cat)[0], torch.from_numpy(found.heat.copy())
    target = lite.labels.index(found.label)
    assert faithfulness(opened, pixels, 1 - heat, target) < found.faithfulness


@pytest.mark.slow
def test_the_heat_is_worth_more_than_chance_on_ten_photos(lite):
    names = ["astronaut", "chelsea", "coffee", "rocket", "camera", "clock"]
    pictures = {name: getattr(photographs, name)() for name in names}
    pictures["motorcycle"] = photographs.stereo_motorcycle()[0]
    pictures |= {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    pictures["hopper"] = Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")
    explain = Explainer(lite)
    for name, picture in pictures.items():
        found = explain(picture)
        print(f"{name}: {found!r}")
        assert found.faithfulness > 0, name


def test_every_kind_of_model_with_layers(tmp_path, cat, photos, tiny_folder):
    wrapped = vk.wrap_model(
        nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        preprocess=vk.Preprocess(size_wh=(32, 32)),
        labels=["a", "b"],
    )
    data = [(photo, photo.stem) for photo in photos for _ in range(2)]
    tuned = vk.fine_tune(data, epochs=1, validation=data, out=tmp_path / "tuned").model
    seeing = vk.fine_tune(data, model=f"open_clip:{tiny_folder}", epochs=1, validation=data).model
    for model, layer in ((wrapped, "1"), (tuned, "backbone.top"), (str(tmp_path / "tuned"), "backbone.top")):
        assert vk.explain(cat, model=model, measured=False).layer == layer
    assert "backbone.visual" in vk.explain(cat, model=seeing, measured=False).layer


def test_one_many_and_lazily(lite, photos, tmp_path):
    options = {"model": lite, "measured": False}
    one = vk.explain(photos[1], label="espresso", **options)
    many = vk.explain([photos[0], tmp_path / "gone.jpg", photos[1]], label="espresso", on_error="return", **options)
    assert [type(found).__name__ for found in many] == ["Heatmap", "Failure", "Heatmap"]
    np.testing.assert_allclose(many[2].heat, one.heat, atol=1e-4)
    stream = vk.explain(iter(photos[:1]), **options)
    assert next(stream).label == vk.classify(photos[0], model=lite).label
    assert vk.explain([], **options) == []


def test_the_model_stays_as_it_is(cat):
    model = random("visionkit:simple_cnn")
    model.module.requires_grad_(requires_grad=True)
    hooks = [len(m._forward_hooks) for m in model.module.modules()]
    before = vk.classify(cat, model=model).scores
    with torch.inference_mode():
        vk.explain(cat, model=model)
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())
    assert [len(m._forward_hooks) for m in model.module.modules()] == hooks
    assert vk.classify(cat, model=model).scores == before


def test_threads_share_a_model(photos):
    model = random("visionkit:simple_cnn")
    alone = [vk.explain(photo, model=model, measured=False).heat for photo in photos]
    found = {}
    work = lambda i: found.update({i: vk.explain(photos[i], model=model, measured=False).heat})
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(photos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, heat in enumerate(alone):
        np.testing.assert_allclose(found[i], heat, atol=1e-5)


def test_of_several_labels_each_has_a_probability_of_its_own(cat):
    model = random("visionkit:simple_cnn")
    single = vk.explain(cat, model=model, measured=False)
    model.multi_label = True
    assert vk.explain(cat, model=model, measured=False).score > single.score


def test_for_a_report(cat):
    model = random("visionkit:simple_cnn")
    heat = heat_of(model)
    found = heat(cat, "class 2")
    assert (found.label, found.faithfulness) == ("class 2", None)
    np.testing.assert_array_equal(found.heat, vk.explain(cat, model=model, label="class 2", measured=False).heat)
    assert heat(np.zeros((8, 8, 3), np.uint8), "class 3").label == "class 3"
    with pytest.raises(CapabilityError, match="colors:mean cannot be looked into"):
        heat_of(vk.load_model("colors:mean"))(cat, "red")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label": "tabbi"}, InputError, "label 'tabbi' is none of the 1000 of visionkit:eff.*did you mean 'tabby'"),
        ({"label": "§§"}, InputError, r"its first are \('tench'"),
        ({"label": 3}, InputError, "label 3 is none of the 1000"),
        ({"method": "magic"}, InputError, "method='magic' must be one of 'grad_cam', 'integrated_gradients'"),
        ({"method": "occlusion", "layer": "top"}, InputError, "layer= goes with method='grad_cam'"),
        ({"layer": "blocks.9.layer.0"}, InputError, r"layer 'blocks.9.layer.0' of .* is none; did you mean 'blocks\.9"),
        ({"layer": "§"}, InputError, "is none; some are stem.0, .*, top"),
        ({"layer": "head"}, InputError, "layer 'head' of .* gives no maps over the picture"),
        ({"layer": ["top"]}, InputError, r"layer \['top'\] of .* is none"),
        ({"model": FakeClassifier(["a"])}, CapabilityError, "fake:classifier cannot be looked into"),
        ({"model": "colors:mean"}, CapabilityError, "colors:mean cannot be looked into"),
        ({"model": nn.Flatten()}, InputError, "model=Flatten is no model"),
    ],
)
def test_what_cannot_be_explained(arguments, error, message, cat):
    with pytest.raises(error, match=message):
        vk.explain(cat, **{"model": "visionkit:efficientnet_lite0", **arguments})


def test_models_without_maps_or_classes(cat):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    small = vk.Preprocess(size_wh=(8, 8))
    model = vk.wrap_model(flat, preprocess=small, labels=["a", "b"])
    with pytest.raises(ModelError, match="Sequential has no layer that gives maps over the picture"):
        vk.explain(cat, model=model)
    assert vk.explain(cat, model=model, method="occlusion").heat.shape == (8, 8)
    with pytest.raises(CapabilityError, match="Sequential has no class head to explain"):
        vk.explain(cat, model=vk.wrap_model(flat, preprocess=small))
    with pytest.raises(InputError, match="Sequential has no layer that gives maps"):
        vk.show_activations(cat, model=model)


def test_without_captum_only_grad_cam(cat, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    model = random("visionkit:simple_cnn")
    vk.explain(cat, model=model, measured=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'visionkit-py\[explain\]'"):
        vk.explain(cat, model=model, method="occlusion")


SMALL = vk.Preprocess(size_wh=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


class Sided(nn.Module):
    """A convolution beside the way of the answer, and dropout in it."""

    def __init__(self, *, blocked=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)
        self.beside = nn.Conv2d(3, 4, 3, 2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.blocked = blocked

    def forward(self, pixels):
        self.beside(pixels)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.blocked):
            return self.head(self.drop(self.conv(pixels).mean((2, 3))))


def sided(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vk.wrap_model(Sided(**options), preprocess=SMALL, labels=["a", "b"], device="cpu")


def test_a_model_in_training_is_explained_as_it_answers(cat):
    model = sided()
    expected = vk.explain(cat, model=model)
    model.module.train()
    found = vk.explain(cat, model=model)
    assert (found.score, found.faithfulness) == (expected.score, expected.faithfulness)
    np.testing.assert_array_equal(found.heat, expected.heat)
    np.testing.assert_array_equal(
        vk.show_activations(cat, model=model).image, vk.show_activations(cat, model=sided()).image
    )
    assert all(layer.training for layer in model.module.modules())


def test_layers_and_networks_without_gradients(cat):
    assert vk.explain(cat, model=sided()).layer == "conv"
    with pytest.raises(InputError, match="layer 'beside' of Sided: no gradients flow to it from the answer"):
        vk.explain(cat, model=sided(), layer="beside")
    blocked = sided(blocked=True)
    with pytest.raises(ModelError, match="Sided lets no gradients flow from its answer to a layer that"):
        vk.explain(cat, model=blocked)
    with pytest.raises(InputError, match="layer 'conv' of Sided: no gradients flow"):
        vk.explain(cat, model=blocked, layer="conv")
    with pytest.raises(ModelError, match="lets no gradients flow from its answer to a picture"):
        vk.explain(cat, model=blocked, method="integrated_gradients")
    assert vk.explain(cat, model=blocked, method="occlusion").heat.max() == 1


def test_an_answer_that_is_no_number_is_a_failure_of_its_picture():
    class Blind(Sided):
        def forward(self, pixels):
            lit = pixels.mean((1, 2, 3)) > -0.9
            return torch.where(lit[:, None], super().forward(pixels), float("nan"))

    model = vk.wrap_model(Blind(), preprocess=SMALL, labels=["a", "b"], device="cpu")
    light, dark = np.full((16, 16, 3), 200, np.uint8), np.zeros((16, 16, 3), np.uint8)
    found = vk.explain([light, dark, light], model=model, on_error="return")
    assert [type(f).__name__ for f in found] == ["Heatmap", "Failure", "Heatmap"]
    assert (found[1].index, str(found[1].error)) == (1, "Blind gives NaN for <array 16×16×3>")
    with pytest.raises(ModelError, match="gives NaN"):
        vk.explain(dark, model=model, method="occlusion")
    with pytest.raises(ModelError, match="gives NaN"):
        heat_of(model)(dark, "a")
