"""Augmentation: every policy against what it promises, picture by picture."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as v2

import visionkit as vk
from visionkit.errors import InputError
from visionkit.pipeline.augment import POLICIES, _cropped, _Draw, _jittered, _operations, _resampled, augment, mix
from visionkit.pipeline.tensors import pixels_of


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def many(cat):
    """Twelve times the same cat, 64×48."""
    picture = pixels_of(vk.load_image(cat).resize((48, 64)))
    return picture.expand(12, -1, -1, -1).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_gives_the_same_and_torch_is_left_alone(many, policy):
    before, pixels = torch.random.get_rng_state(), many.clone()
    first = augment(many, policy, generator(3))
    assert torch.equal(first, augment(many, policy, generator(3)))
    assert first.shape == many.shape
    assert first.dtype == torch.uint8
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(many, pixels), "the pictures given were changed"
    assert (policy == "none") == torch.equal(first, augment(many, policy, generator(4)))


def test_mirror_mirrors_half_of_them(many):
    changed = augment(many.repeat(4, 1, 1, 1), "mirror", generator())
    flipped = [torch.equal(picture, many[0].flip(2)) for picture in changed]
    assert 12 <= sum(flipped) <= 36
    assert all(torch.equal(picture, many[0]) for picture, turned in zip(changed, flipped, strict=True) if not turned)
    assert changed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("policy", ["light", "standard", "strong"])
def test_each_picture_is_changed_in_its_own_way(many, policy):
    changed = augment(many, policy, generator())
    assert len({bytes(p.contiguous().numpy().tobytes()) for p in changed}) >= 11


def test_none_gives_the_pictures_themselves(many):
    assert augment(many, "none", generator()) is many


def test_light_moves_whole_pixels():
    """Each picture is the given one, mirrored or not, shifted by at most an eighth, with its edge mirrored."""
    picture = torch.randint(0, 256, (3, 16, 24), dtype=torch.uint8, generator=generator())
    changed = augment(picture.expand(40, -1, -1, -1), "light", generator(1))
    wide = torch.nn.functional.pad(picture[None].float(), (3, 3, 2, 2), mode="replicate")[0].to(torch.uint8)
    wide[:, :, :3], wide[:, :, -3:] = wide[:, :, 3:6].flip(2), wide[:, :, -6:-3].flip(2)
    wide[:, :2], wide[:, -2:] = wide[:, 2:4].flip(1), wide[:, -4:-2].flip(1)
    possible = {
        candidate.numpy().tobytes(): (x, y, mirrored)
        for x in range(7)
        for y in range(5)
        for mirrored, candidate in enumerate(
            (wide[:, y : y + 16, x : x + 24].contiguous(), wide[:, y : y + 16, x : x + 24].flip(2).contiguous())
        )
    }
    found = [possible[p.contiguous().numpy().tobytes()] for p in changed]
    assert {mirrored for *_, mirrored in found} == {0, 1}
    assert len({x for x, _, _ in found}) > 4
    assert len({y for _, y, _ in found}) > 3


def test_standard_shows_a_part_of_the_right_size():
    sides, middle = _cropped(_Draw(200, generator()))
    area = sides.prod(1)
    assert float(area.min()) >= 0.3  # a side that would not fit is cut, which makes the part a little smaller
    assert float(area.max()) <= 1.0
    assert (middle.abs() + sides <= 1.0 + 1e-6).all(), "a part beyond the picture"
    assert 0.55 < float(area.mean()) < 0.75
    # a ramp from left to right says where it was cut
    ramp = torch.arange(200, dtype=torch.uint8).expand(1, 3, 20, 200)
    one, where = _cropped(_Draw(1, generator()))
    seen = _resampled(ramp, one, where)[0, 0, 0]
    left, right = (float((where[0, 0] + sign * one[0, 0] + 1) / 2 * 200) for sign in (-1, 1))
    assert float(seen[0]) == pytest.approx(left, abs=1.0)
    assert float(seen[-1]) == pytest.approx(right, abs=1.0)


def test_jitter_is_that_of_torchvision():
    values = torch.rand(1, 3, 8, 8, generator=generator()) * 60 + 90  # nothing reaches 0 or 255 on the way
    draw = _Draw(1, generator(5))
    brightness, contrast, saturation = (float(draw.uniform(0.6, 1.4)) for _ in range(3))
    expected = v2.adjust_saturation(
        v2.adjust_contrast(v2.adjust_brightness(values / 255, brightness), contrast), saturation
    )
    ours = _jittered(values.clone(), _Draw(1, generator(5))) / 255
    assert torch.allclose(ours, expected, atol=2e-4)  # torchvision's weights have four digits: 0.2989, 0.587, 0.114


@pytest.mark.parametrize("index", range(14))
def test_the_operations_of_strong(many, index):
    operation = _operations()[index]
    strongest = operation(many[0], 1.0, -1.0)
    assert strongest.shape == many[0].shape
    assert strongest.dtype == torch.uint8
    assert (index == 0) == torch.equal(strongest, many[0])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8)])
@pytest.mark.parametrize("policy", ["light", "standard", "strong"])
def test_small_pictures(size, policy):
    pixels = torch.full((60, 3, *size), 7, dtype=torch.uint8)
    assert augment(pixels, policy, generator()).shape == pixels.shape


def test_mixed_targets_are_the_parts_of_the_pictures():
    """Black against white: the mean of a picture is the part of white, and so must be the target."""
    pixels = torch.stack([torch.full((3, 32, 32), 255 * (i % 2), dtype=torch.uint8) for i in range(8)])
    targets = torch.nn.functional.one_hot(torch.arange(8) % 2, 2).float()
    blended = set()
    for seed in range(20):
        mixed, parts = mix(pixels, targets, generator(seed))
        white = mixed.float().mean((1, 2, 3)) / 255
        assert torch.allclose(white, parts[:, 1], atol=3e-3)
        assert torch.allclose(parts.sum(1), torch.ones(8))
        blended.add(bool(((mixed > 0) & (mixed < 255)).any()))
    assert blended == {True, False}, "both mixup and CutMix come"
    assert torch.equal(mix(pixels, targets, generator(1))[0], mix(pixels, targets, generator(1))[0])


def test_empty_batches():
    empty = torch.zeros((0, 3, 4, 4), dtype=torch.uint8)
    assert augment(empty, "strong", generator()).shape == (0, 3, 4, 4)
    assert mix(empty, torch.zeros((0, 2)), generator())[1].shape == (0, 2)


def test_bad_input(many):
    with pytest.raises(
        InputError, match="augment='wild' is no policy; choose one of 'none', 'mirror', 'light', 'standard'"
    ):
        augment(many, "wild", generator())
    with pytest.raises(InputError, match=r"augment takes uint8 \(N, 3, H, W\), not torch.float32 \(12, 3, 64, 48\)"):
        augment(many.float(), "light", generator())
    with pytest.raises(InputError, match=r"targets must be float \(12, K\), not torch.int64 \(12,\)"):
        mix(many, torch.zeros(12, dtype=torch.int64), generator())
