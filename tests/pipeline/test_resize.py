"""Our resize is torchvision's on uint8, to the bit: an untrained detector makes hundreds of pixels of one level."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from visionkit.pipeline import Preprocess
from visionkit.pipeline.tensors import fit_pixels, pixels_of

MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST_EXACT,
}
IMAGES_HW = [(480, 640), (331, 517), (1301, 427), (63, 65), (7, 7), (2, 3), (5, 1200), (1, 97), (97, 1), (1, 1)]
INPUTS_WH = [(224, 224), (256, 320), (97, 33), (500, 3), (1, 97), (97, 1), (65, 63)]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("image_hw", IMAGES_HW, ids=lambda hw: f"{hw[0]}x{hw[1]}")
def test_equals_torchvision_to_the_bit(image_hw, interpolation):
    array = noise(*image_hw)
    planes = torch.from_numpy(array).permute(2, 0, 1).contiguous()
    for width, height in INPUTS_WH:
        ours = fit_pixels(
            pixels_of(Image.fromarray(array)),
            Preprocess(size_wh=(width, height), resize="squash", interpolation=interpolation),
        )
        for layout in (planes, torch.stack([planes, planes])):  # one picture, and pictures of one shape together
            theirs = reference.resize(layout, [height, width], MODES[interpolation], antialias=True)
            assert torch.equal(theirs.reshape(-1, 3, height, width)[0], ours), (width, height)


@pytest.mark.parametrize("interpolation", MODES)
def test_one_pixel_input(interpolation):
    # torchvision's own call fails inside torch for planes of 640×480 → 1×1, so the mean stands in as the reference
    array = noise(480, 640)
    ours = fit_pixels(
        pixels_of(Image.fromarray(array)), Preprocess(size_wh=(1, 1), resize="squash", interpolation=interpolation)
    )
    assert ours.shape == (3, 1, 1)
    if interpolation != "nearest":
        assert (ours.flatten().float() - torch.from_numpy(array).float().mean((0, 1))).abs().max() < 4


def test_the_same_size_is_left_alone():
    array = noise(33, 21)
    ours = fit_pixels(pixels_of(Image.fromarray(array)), Preprocess(size_wh=(21, 33), resize="squash"))
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), array)


@pytest.mark.slow
def test_equals_torchvision_without_avx2():
    # torch chooses its kernels once for each process, and without AVX2 torchvision resizes bilinearly in floats
    code = (
        "import torch; assert torch.backends.cpu.get_cpu_capability() == 'DEFAULT'\n"
        "import test_resize as t\n"
        "for mode in t.MODES:\n"
        "    for hw in ((331, 517), (63, 65), (7, 7)):\n"
        "        t.test_equals_torchvision_to_the_bit(hw, mode)\n"
        "print('equal')"
    )
    paths = [str(Path(__file__).parent), *sys.path]
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "equal\n", result.stderr
