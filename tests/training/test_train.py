from __future__ import annotations

import errno
import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import visionkit as vk
from visionkit.cnn import SimpleCNN
from visionkit.errors import InputError, ModelNotFoundError, TrainingError


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    pictures = (data.images / 16 * 255).round().astype(np.uint8)
    return [(picture, str(target)) for picture, target in zip(pictures, data.target, strict=True)]


def colours(count=8, size=10):
    """Red and blue pictures with some noise: learnt in a moment."""
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        for channel, label in ((0, "red"), (2, "blue")):
            picture = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
            picture[..., channel] += 150
            pairs.append((picture, label))
    return pairs


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_to_98_percent(digits, seed):
    started = time.process_time()
    run = vk.train(digits, seed=seed)
    seconds = time.process_time() - started
    print(
        f"seed {seed}: {run.metrics['accuracy']:.2%} of {run.metrics['validation_images']:.0f} in {seconds:.1f} CPU-s"
    )
    assert run.metrics["validation_images"] == 450
    assert run.metrics["accuracy"] >= 0.98
    assert seconds <= 60


def test_a_run(tmp_path):
    run = vk.train(colours(), epochs=4, batch_size=8, out=tmp_path / "run")
    assert run.metrics == {"accuracy": 1.0, "validation_images": 4.0}
    assert run.labels == ("blue", "red")
    assert run.confusion == ((2, 0), (0, 2))
    assert [record.epoch for record in run.history] == [1, 2, 3, 4]
    assert run.history[-1].loss < run.history[0].loss
    assert run.folder == tmp_path / "run"
    assert repr(run).startswith("TrainingRun(4 epochs, 2 classes: accuracy 100.0% on 4 pictures set aside")
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    red = np.zeros((10, 10, 3), np.uint8) + np.array([200, 20, 20], np.uint8)
    assert vk.classify(red, model=run.model).label == "red"
    assert vk.classify(red, model=tmp_path / "run") == vk.classify(red, model=run.model).model_copy(
        update={"model": str(tmp_path / "run")}
    )


def test_its_picture_and_its_json():
    run = vk.train(colours(), epochs=2)
    assert '<img src="data:image/png;base64,iVBOR' in run._repr_html_()
    figure = run.plot()
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy on pictures set aside", "Confusion"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [record.loss for record in run.history]
    read = json.loads(run.model_dump_json())
    assert read["metrics"]["accuracy"] == run.metrics["accuracy"]
    assert "model" not in read
    assert vk.training.TrainingRun.model_validate_json(run.model_dump_json()).history == run.history


def test_size_and_statistics_come_from_the_data():
    pairs = colours()
    run = vk.train(pairs, epochs=1, validation=pairs)
    assert run.model.preprocess.size_wh == (10, 10)
    values = np.stack([picture for picture, _ in pairs]) / 255
    assert run.model.preprocess.mean == pytest.approx(values.mean((0, 1, 2)), abs=1e-6)
    assert run.model.preprocess.std == pytest.approx(values.std((0, 1, 2)), abs=1e-6)


@pytest.mark.parametrize("odd", [np.zeros((10, 11, 3), np.uint8), np.zeros((65, 10, 3), np.uint8)])
def test_pictures_that_are_not_alike_or_large_are_fitted_to_224(odd):
    from visionkit.training.data import Labelled
    from visionkit.training.scratch import _size_of

    small = np.zeros((10, 10, 3), np.uint8)
    assert _size_of(Labelled((small, small), ("a", "b"))) == (10, 10)
    assert _size_of(Labelled((small, odd), ("a", "b"))) == (224, 224)


def test_the_same_seed_gives_the_same_weights_and_leaves_no_trace():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = vk.train(colours(), epochs=2, seed=3).model.module.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second = vk.train(colours(), epochs=2, seed=3).model.module.state_dict()
    other = vk.train(colours(), epochs=2, seed=4).model.module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_folder_per_class(tmp_path):
    for i, (picture, label) in enumerate(colours()):
        (tmp_path / label).mkdir(exist_ok=True)
        vk.load_image(picture).save(tmp_path / label / f"{i}.png")
    vk.load_image(np.zeros((4, 4), np.uint8)).save(tmp_path / "beside.png")
    run = vk.train(tmp_path, epochs=3)
    assert run.labels == ("blue", "red")
    assert run.metrics["accuracy"] == 1.0


def test_unreadable_pictures_are_left_out_and_listed(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    run = vk.train([*colours(), (broken, "red"), (broken, "red")], epochs=2)
    assert {failure.source for failure in run.failures} == {str(broken)}
    assert len(run.failures) == 2
    assert "2 pictures left out" in repr(run)


def test_networks_by_name_and_ones_own(cat):
    own = SimpleCNN(2)
    weights = {name: value.clone() for name, value in own.state_dict().items()}
    run = vk.train(colours(), model=own, epochs=2)
    assert all(torch.equal(own.state_dict()[name], weights[name]) for name in weights), "the user's module was trained"
    assert run.model.architecture()["model"] == "visionkit:simple_cnn"
    timm = vk.train(colours(count=4, size=64), model="timm:test_resnet", epochs=1)
    assert timm.model.labels == ("blue", "red")
    assert vk.embed(cat, model=timm.model).vectors.shape[0] == 1


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([], {}, TrainingError, "there are no pictures to learn from"),
        ([(np.zeros((2, 2), np.uint8), "a")] * 3, {}, TrainingError, "there is one class only, 'a'"),
        (colours()[:3], {}, TrainingError, "the class 'blue' has one picture; two at least"),
        (colours(2), {"validation": 0.01}, TrainingError, "too few to set 1% aside"),
        (3, {}, InputError, "data must be a folder or pairs of image and label, not int"),
        (["a.jpg", "b.jpg"], {}, InputError, r"data\[0\] is no pair of an image and its label"),
        ([("a.jpg", 3)], {}, InputError, r"the label of data\[0\] is 3: labels are names"),
        ("nowhere", {}, InputError, "cannot search nowhere: no such folder"),
        (colours(), {"epochs": 0}, InputError, "epochs=0 and batch_size=32 must be at least 1"),
        (colours(), {"learning_rate": -1.0}, InputError, "learning_rate=-1.0 above 0"),
        (colours(), {"validation": 1.5}, InputError, "validation=1.5 must be a fraction between 0 and 1"),
        (
            colours(),
            {"validation": [(np.zeros((10, 10), np.uint8), c) for c in ("red", "green")]},
            TrainingError,
            "the validation data has the class 'green', which the data to learn from lacks",
        ),
        (colours(), {"model": SimpleCNN(10)}, TrainingError, "the network gives 10 classes, the data has 2: blue, red"),
        (colours(), {"model": SimpleCNN(2, in_channels=1)}, TrainingError, r"does not take pictures of \(3, 10, 10\)"),
        (colours(), {"model": nn.Flatten()}, TrainingError, "the network gives 300 classes"),
        (colours(), {"model": 3}, InputError, r"model must be a name or a torch.nn.Module, not int"),
        (colours(), {"model": "visionkit:simple_cmm"}, ModelNotFoundError, "did you mean visionkit:simple_cnn"),
        (colours(), {"learning_rate": 1e30}, TrainingError, "the loss is NaN in epoch"),
        (colours(), {"seed": -1}, InputError, "seed=-1 must be from 0 to 4294967295"),
        (colours(), {"epochs": 2.5}, InputError, "epochs=2.5 must be a whole number"),
        (colours(), {"model": "runs/flowers"}, InputError, r"train starts from random weights: .* use vk\.fine_tune"),
        (colours(), {"model": "timm:test_vit"}, TrainingError, r"does not take pictures of \(3, 10, 10\)"),
        (
            [*colours(), *((b"broken", "green") for _ in range(4))],
            {},
            TrainingError,
            "none of the 3 pictures of 'green' could be loaded",
        ),
    ],
)
def test_bad_input(data, options, error, message):
    with pytest.raises(error, match=message):
        vk.train(data, **options)


def test_open_files_can_be_learnt_from(tmp_path):
    pairs = []
    for picture, label in colours():
        buffer = io.BytesIO()
        vk.load_image(picture).save(buffer, "PNG")
        buffer.seek(0)
        pairs.append((buffer, label))
    run = vk.train(pairs, epochs=3)
    assert run.failures == ()
    assert run.metrics["accuracy"] == 1.0


def test_a_last_batch_of_one_joins_its_neighbour():
    from visionkit.training.loop import parts

    assert [len(part) for part in parts(torch.arange(9), 4)] == [4, 5]
    assert [len(part) for part in parts(torch.arange(10), 4)] == [4, 4, 2]
    assert [len(part) for part in parts(torch.arange(1), 4)] == [1]
    assert [len(part) for part in parts(torch.arange(3), 1)] == [1, 1, 1]


def test_threads_train_one_after_another():
    alone = vk.train(colours(), epochs=2, seed=3).model.module.state_dict()
    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda seed: vk.train(colours(), epochs=2, seed=seed), [1, 3, 2]))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(alone[name], runs[1].model.module.state_dict()[name]) for name in alone)


def test_all_pictures_broken():
    with pytest.raises(TrainingError, match="none of the pictures could be loaded; the first: Failure"):
        vk.train([(b"x", label) for label in "ab"] * 4)


def test_what_memory_does_not_hold_lies_in_a_file(monkeypatch):
    from visionkit.pipeline import resident

    sources = [picture for picture, _ in colours()] + [b"broken"]
    preprocess = vk.Preprocess(size_wh=(6, 8), resize="squash")
    pixels, kept, failures = resident.load_pixels(sources, preprocess)
    monkeypatch.setattr(resident, "MAX_BYTES", 100)
    mapped, same_kept, same_failures = resident.load_pixels(sources, preprocess)
    assert torch.equal(mapped, pixels)
    assert mapped.is_contiguous(memory_format=torch.channels_last)
    assert (same_kept, same_failures) == (kept, failures)
    full = lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"17 pictures of 6×8 take 0.0 GB, and there is no room for them in .*TMPDIR"):
        resident.load_pixels(sources, preprocess)


def test_out_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="out='.': there is something else"):
        vk.train(colours(), out=".")
    with pytest.raises(InputError, match=r"out='a\\x00b' is no name of a folder"):
        vk.train(colours(), out="a\0b")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="nothing can be written there"):
        vk.train(colours(), out=tmp_path / "file" / "run")
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(InputError, match="there is something else; give a new folder"):
        vk.train(colours(), out=tmp_path)
