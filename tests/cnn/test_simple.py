from __future__ import annotations

import pytest
import torch
from torch import nn

from visionkit.cnn import SimpleCNN
from visionkit.errors import InputError


def test_it_has_94538_parameters():
    assert sum(p.numel() for p in SimpleCNN().parameters()) == 94_538


def test_it_is_the_network_that_its_description_tells():
    kinds = [type(layer) for layer in SimpleCNN().features]
    assert kinds.count(nn.Conv2d) == 3
    assert kinds.count(nn.MaxPool2d) == 2
    assert [layer.out_channels for layer in SimpleCNN().features if isinstance(layer, nn.Conv2d)] == [32, 64, 128]
    assert [type(layer) for layer in SimpleCNN(activation="sigmoid").features].count(nn.Sigmoid) == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 8), (28, 28), (33, 50)])
def test_any_size(size):
    assert SimpleCNN(4, in_channels=1)(torch.zeros((2, 1, *size))).shape == (2, 4)


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"in_channels": 0}, {"activation": "tanh"}])
def test_impossible(wrong):
    with pytest.raises(InputError, match="SimpleCNN needs num_classes ≥ 1, in_channels ≥ 1"):
        SimpleCNN(**wrong)
