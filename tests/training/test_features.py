"""Features are computed once: what is kept is used again only for the same model and pictures, and only when whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.errors import ImageDecodeError
from visionkit.images import load_image
from visionkit.training import feature_store, features
from visionkit.training.data import read_data, split
from visionkit.training.feature_store import CELLS_FILE, RECORD_FILE, VALUES_FILE, Store
from visionkit.training.features import Views, features_of, store_at
from visionkit.training.fingerprints import Fingerprints
from visionkit.training.frozen import train_head
from visionkit.training.settings import Settings

SPEC = vk.Preprocess(size_wh=(12, 12), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def network(width=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, width))


def embedder(module=None, **options):
    return vk.wrap_model(module or network(), preprocess=options.pop("preprocess", SPEC), device="cpu", **options)


@pytest.fixture
def pictures(tmp_path):
    """Forty files in two classes, one of which is broken."""
    random = np.random.default_rng(0)
    for i in range(40):
        picture = random.integers(0, 120, (16, 20, 3), dtype=np.uint8)
        picture[..., i % 3 % 2] += 100
        path = tmp_path / "data" / ("red", "green")[i % 3 % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        load_image(picture).save(path)
    (tmp_path / "data" / "red" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return read_data(tmp_path / "data")


@pytest.fixture
def store(tmp_path):
    return store_at(tmp_path / "cache")


def compute(pictures, store, model=None, views=None):
    return features_of(model or embedder(), pictures, views or Views(), store=store, progress=False)


def only(store):
    [folder] = (Path(str(store))).iterdir()
    return folder


def test_features_are_those_of_the_model(pictures):
    model = embedder()
    found = compute(pictures, None, model)
    expected = [
        model.image_features(b).clone()
        for b in vk.Batches([pictures.sources[i] for i in found.kept], SPEC, device="cpu")
    ]
    assert torch.equal(found.values[:, 0], torch.cat(expected))
    assert len(found.kept) == 39
    [failure] = found.failures
    assert failure.index not in found.kept
    assert isinstance(failure.error, ImageDecodeError)


def test_a_second_run_reuses_them_to_the_bit(pictures, store):
    first, second = compute(pictures, store), compute(pictures, store)
    assert (first.reused, second.reused) == (False, True)
    assert torch.equal(first.values, second.values)
    assert (first.cells == second.cells).all()
    assert first.kept == second.kept
    assert first.failures == second.failures
    assert [str(f.error) for f in second.failures] == [str(f.error) for f in first.failures]
    assert type(second.failures[0].error) is ImageDecodeError
    assert sorted(p.name for p in only(store).iterdir()) == [VALUES_FILE, RECORD_FILE, CELLS_FILE]


def other_weights():
    module = network()
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] += 1e-3
    return embedder(module)


def a_hook():
    model = embedder()
    model.module[0].register_forward_hook(lambda _m, _i, output: output + 1)
    return model


def dead_weights():
    """No answer tells of these: the channel is off."""
    module = network()
    with torch.no_grad():
        module[4].weight[:, 0] = 0.0
        module[0].weight[0] += 1.0
    return embedder(module)


@pytest.mark.parametrize(
    "model",
    [
        other_weights,
        a_hook,
        dead_weights,
        lambda: embedder(preprocess=vk.Preprocess(size_wh=(12, 12))),
        lambda: embedder(speed="exact"),
    ],
)
def test_another_model_has_features_of_its_own(pictures, store, model):
    compute(pictures, store)
    assert not compute(pictures, store, model()).reused


def test_other_views_have_features_of_their_own(pictures, store):
    for views in (Views(), Views(3, "light", 0), Views(3, "standard", 0), Views(3, "light", 1), Views(2, "light", 0)):
        assert not compute(pictures, store, views=views).reused
        assert compute(pictures, store, views=views).reused


def test_views(pictures, store):
    views = Views(3, "standard", 5)
    found = compute(pictures, store, views=views)
    assert found.values.shape == (39, 3, 5)
    assert torch.equal(found.values[:, 0], compute(pictures, None).values[:, 0]), "the first is the picture as it is"
    assert not torch.equal(found.values[:, 1], found.values[:, 2])
    assert torch.equal(found.values, compute(pictures, None, views=views).values), "the same seed, the same views"


def test_a_changed_file_is_seen(pictures, store):
    compute(pictures, store)
    path = pictures.sources[3]
    status, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert not compute(pictures, store).reused


def test_arrays_and_bytes_are_known_by_their_content(store, cat):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (14, 14, 3), dtype=np.uint8) for _ in range(4)]
    data = read_data([*((a, "ab"[i % 2]) for i, a in enumerate(arrays)), (cat.read_bytes(), "a")])
    assert not compute(data, store).reused
    assert compute(data, store).reused
    arrays[2][0, 0, 0] ^= 1
    assert not compute(data, store).reused


@pytest.mark.parametrize("source", ["https://x.test/y.png", object()])
def test_what_may_change_unseen_has_no_fingerprint(pictures, source):
    assert Fingerprints(embedder()).of([*pictures.sources, source], Views()) is None


def test_a_model_without_a_module_has_none(pictures):
    assert Fingerprints(vk.load_model("colors:mean")).of(pictures.sources, Views()) is None


def damage_values(folder):
    data = bytearray((folder / VALUES_FILE).read_bytes())
    data[-1] ^= 1
    (folder / VALUES_FILE).write_bytes(data)


def of_others(folder):
    """Features of fewer pictures, whole and sealed."""
    record = json.loads((folder / RECORD_FILE).read_text())
    record["indices"] = record["indices"][:-1]
    (folder / RECORD_FILE).write_text(json.dumps(record))


def pickled(folder):
    np.save(folder / VALUES_FILE, np.array([print], dtype=object), allow_pickle=True)
    record = json.loads((folder / RECORD_FILE).read_text())
    record["sha256"][VALUES_FILE] = feature_store._digest(folder / VALUES_FILE)
    (folder / RECORD_FILE).write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage",
    [
        damage_values,
        of_others,
        pickled,
        lambda folder: (folder / VALUES_FILE).write_bytes(b""),
        lambda folder: (folder / CELLS_FILE).unlink(),
        lambda folder: (folder / RECORD_FILE).write_text("{"),
        lambda folder: (folder / RECORD_FILE).write_text("[]"),
        lambda folder: (folder / RECORD_FILE).write_text('{"format": 2}'),
        lambda folder: (folder / RECORD_FILE).unlink(),
        lambda folder: shutil.rmtree(folder) or folder.mkdir(),
    ],
)
def test_damaged_or_foreign_features_are_made_again(pictures, store, damage):
    first = compute(pictures, store)
    damage(only(store))
    second = compute(pictures, store)
    assert not second.reused
    assert torch.equal(first.values, second.values)
    assert compute(pictures, store).reused


def test_a_disk_that_refuses_costs_nothing_but_the_next_run(pictures, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    found = compute(pictures, store_at(tmp_path / "file"))
    assert len(found.kept) == 39
    assert "features are not kept" in caplog.text


def test_large_features_are_mapped(pictures, store, monkeypatch):
    expected = compute(pictures, None, views=Views(2, "light"))
    monkeypatch.setattr(features, "MAPPED_FROM", 100)
    made = compute(pictures, store, views=Views(2, "light"))
    assert torch.equal(made.values, expected.values)
    again = compute(pictures, store, views=Views(2, "light"))
    assert again.reused
    assert torch.equal(again.values, expected.values)
    assert sorted(p.name for p in only(store).iterdir()) == [VALUES_FILE, RECORD_FILE, CELLS_FILE]


def test_what_is_kept_is_bounded(pictures, tmp_path):
    small = Store(tmp_path / "cache", max_bytes=20_000)
    for seed in range(12):
        compute(pictures, small, views=Views(2, "light", seed))
    size = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert size <= 20_000
    assert compute(pictures, small, views=Views(2, "light", 11)).reused, "the newest is there"
    assert not compute(pictures, small, views=Views(2, "light", 0)).reused
    small.clear()
    assert not (tmp_path / "cache").exists()


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("VISIONKIT_CACHE", str(tmp_path / "mine"))
    assert str(store_at(cache=True)) == str(tmp_path / "mine" / "features")
    monkeypatch.delenv("VISIONKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert str(store_at(cache=True)) == str(tmp_path / "visionkit" / "features")
    assert store_at(cache=False) is None


def settings(**options):
    return Settings(**{"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "weight_decay": 0.1, "seed": 0} | options)


@pytest.mark.parametrize("augment", ["none", "standard"])
def test_the_head_of_the_second_run_is_that_of_the_first(pictures, tmp_path, augment):
    learn, check = split(pictures, 0.25, 0)
    heads = [
        train_head(embedder(), learn, check, settings=settings(augment=augment), progress=False, cache=cache)
        for cache in (False, tmp_path / "cache", tmp_path / "cache")
    ]
    weights = [headed.model.head.weight for headed in heads]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert heads[0].fitted.history[-1].loss == heads[2].fitted.history[-1].loss
    assert len(heads[0].failures) == 1


def test_views_change_what_is_learnt(pictures):
    learn, check = split(pictures, 0.25, 0)
    plain, varied = (
        train_head(embedder(), learn, check, settings=settings(augment=a), progress=False) for a in ("none", "strong")
    )
    assert not torch.equal(plain.model.head.weight, varied.model.head.weight)


def test_a_class_of_which_nothing_set_aside_can_be_loaded_is_no_reason_to_stop(pictures, tmp_path):
    learn, check = split(pictures, 0.25, 0)
    for source, label in zip(check.sources, check.labels, strict=True):
        if label == "green":
            Path(source).write_bytes(b"broken")
    headed = train_head(embedder(), learn, check, settings=settings(), progress=False)
    assert set(headed.check.labels) == {"red"}
    assert headed.model.labels == ("green", "red")
