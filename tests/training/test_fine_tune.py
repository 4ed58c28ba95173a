from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from sklearn.model_selection import StratifiedKFold
from torch import nn

import visionkit as vk
from visionkit.errors import CapabilityError, InputError
from visionkit.testing import FakeDescriber


@pytest.fixture(scope="module")
def faces():
    """25×25 grey pictures, 100 of faces and 100 of anything else, as scikit-image has them."""
    pictures = (skimage.data.lfw_subset() * 255).round().astype(np.uint8)
    return [(picture, "face" if i < 100 else "no face") for i, picture in enumerate(pictures)]


@pytest.mark.slow
def test_faces_to_97_percent_over_four_folds(faces):
    labels = [label for _, label in faces]
    folds = StratifiedKFold(4, shuffle=True, random_state=0).split(faces, labels)
    accuracies = []
    for learn, check in folds:
        run = vk.fine_tune([faces[i] for i in learn], validation=[faces[i] for i in check])
        accuracies.append(run.metrics["accuracy"])
    print(f"faces against not-faces, four folds: {accuracies}, mean {np.mean(accuracies):.2%}")
    assert np.mean(accuracies) >= 0.97


def test_it_saves_the_backbone_too(faces, tmp_path):
    run = vk.fine_tune(faces[80:120], epochs=5, out=tmp_path / "faces")
    again = vk.load_model(tmp_path / "faces")
    picture = faces[0][0]
    assert vk.classify(picture, model=again).scores == vk.classify(picture, model=run.model).scores
    assert (
        vk.embed(picture, model=again).vectors == vk.embed(picture, model="visionkit:efficientnet_lite0").vectors
    ).all()
    assert again.labels == ("face", "no face")


def test_the_scale_is_folded_into_the_head(faces):
    """The accuracy that the run reports on standardised features is that of the model on files."""
    learn, check = faces[:20] + faces[100:120], faces[60:75] + faces[160:175]
    run = vk.fine_tune(learn, validation=check, epochs=3)
    answers = vk.classify([picture for picture, _ in check], model=run.model)
    right = np.mean([answer.label == label for answer, (_, label) in zip(answers, check, strict=True)])
    assert right == pytest.approx(run.metrics["accuracy"])


def test_ones_own_module_is_left_as_it_is(faces, tmp_path):
    own = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
    preprocess = vk.Preprocess(size_wh=(25, 25))
    model = vk.wrap_model(own, preprocess=preprocess, labels=["a", "b", "c", "d"])
    before = [p.clone() for p in model.module.parameters()]
    run = vk.fine_tune(faces[60:140], model=model, epochs=2, out=tmp_path / "own")
    assert all(torch.equal(a, b) for a, b in zip(before, model.module.parameters(), strict=True))
    assert run.model.embedder is not model
    again = vk.load_model(tmp_path / "own", module=own)
    picture = faces[0][0]
    assert vk.classify(picture, model=again).scores == vk.classify(picture, model=run.model).scores


def test_a_saved_model_can_be_tuned_again(faces, tmp_path):
    vk.fine_tune(faces[80:120], epochs=1, out=tmp_path / "first")
    run = vk.fine_tune(faces[80:120], model=tmp_path / "first", epochs=1, out=tmp_path / "second")
    assert run.labels == ("face", "no face")
    assert vk.load_model(tmp_path / "second").labels == ("face", "no face")


def test_a_plug_in_can_be_tuned_but_not_saved(tmp_path):
    def picture(value):
        return np.full((4, 4, 3), value, np.uint8)

    pairs = [(picture((200 + i, 0, 0)), "warm") for i in range(8)] + [
        (picture((0, 0, 200 + i)), "cold") for i in range(8)
    ]
    run = vk.fine_tune(pairs, model="colors:mean")
    assert vk.classify(picture((250, 0, 0)), model=run.model).label == "warm"
    with pytest.raises(CapabilityError, match="a head over colors:mean cannot be saved"):
        vk.save_model(run.model, tmp_path / "x")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train": "most"}, InputError, "train='most' is not offered"),
        ({"model": FakeDescriber()}, CapabilityError, "fake:describer does not embed pictures"),
        ({"model": nn.Flatten()}, InputError, r"model=Flatten is no model: wrap it first: vk\.wrap_model"),
    ],
)
def test_bad_input(faces, options, error, message):
    with pytest.raises(error, match=message):
        vk.fine_tune(faces[98:102], **options)


def test_what_cannot_be_saved_is_refused_before_training(faces, tmp_path):
    with pytest.raises(CapabilityError, match="a head over colors:mean cannot be saved"):
        vk.fine_tune(faces[98:102], model="colors:mean", out=tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_device_goes_with_a_name(faces):
    model = vk.load_model("visionkit:efficientnet_lite0", pretrained=False)
    with pytest.raises(InputError, match="go with a model's name"):
        vk.fine_tune(faces[:4], model=model, device="cpu")
