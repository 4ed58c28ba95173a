from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model

import visionkit as vk
from visionkit.cnn import AlexNet
from visionkit.cnn.embedded import fill_in_order
from visionkit.errors import InputError


def test_it_is_the_network_of_torchvision():
    theirs = get_model("alexnet", num_classes=7).eval()
    ours = AlexNet(7).eval()
    fill_in_order(ours, theirs.state_dict())
    pixels = torch.randn((2, 3, 64, 80), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels), theirs(pixels), atol=0, rtol=0)


def test_it_has_as_many_parameters_as_torchvisions():
    with torch.device("meta"):
        assert sum(p.numel() for p in AlexNet().parameters()) == 61_100_840


def test_its_variants():
    kinds = [type(layer) for layer in AlexNet(2, activation="sigmoid", width=0.05).modules()]
    assert kinds.count(nn.Sigmoid) == 7
    assert nn.ReLU not in kinds
    narrow = AlexNet(2, in_channels=1, dropout=0.25, width=0.05)
    assert [layer.p for layer in narrow.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert narrow(torch.zeros((2, 1, 63, 63))).shape == (2, 2)


@pytest.mark.parametrize(
    "wrong",
    [{"num_classes": 0}, {"in_channels": 0}, {"activation": "tanh"}, {"dropout": 1.0}, {"dropout": -0.1}, {"width": 0}],
)
def test_impossible(wrong):
    with pytest.raises(InputError, match="AlexNet needs num_classes ≥ 1, in_channels ≥ 1"):
        AlexNet(**wrong)


def test_by_name_and_saved(tmp_path, cat):
    model = vk.load_model("visionkit:alexnet", num_classes=3, width=0.05, device="cpu")
    folder = vk.save_model(model, tmp_path / "alex")
    again = vk.load_model(folder, device="cpu")
    assert vk.classify(cat, model=again).scores == vk.classify(cat, model=model).scores
    assert again.module.classifier[1].out_features == 205
