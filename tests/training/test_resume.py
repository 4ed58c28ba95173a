"""What a folder of a training holds is read with care, and given again only for the same call."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import visionkit as vk
from support.colours import colours
from visionkit.errors import TrainingError
from visionkit.models.folder import read_settings
from visionkit.training import keeper
from visionkit.training.board import Board
from visionkit.training.checkpoint import read_checkpoint, restore, write_checkpoint
from visionkit.training.learner import new_learner
from visionkit.training.origin import contents_of, learnt_share, origin_of
from visionkit.training.run import EpochRecord
from visionkit.training.settings import Settings

SETTINGS = Settings(epochs=2, batch_size=4, learning_rate=1e-2, weight_decay=0.0, seed=0)
TOLD = {"begun_with": {}, "batch_size": 4, "history": []}
RECORD = EpochRecord(epoch=1, loss=1.0, validation_loss=1.0, accuracy=0.5, seconds=1.0, images_per_second=9.0)


def learner_of(module):
    return new_learner(module, (), SETTINGS, torch.device("cpu"))


@pytest.mark.parametrize("key", ["epoch", "step", "tensors_sha256", "begun_with", "batch_size", "history"])
@pytest.mark.parametrize("value", [None, 3.5])
def test_a_checkpoint_that_lacks_something(tmp_path, key, value):
    write_checkpoint(tmp_path, learner_of(torch.nn.Linear(2, 2)), TOLD)
    file = tmp_path / "checkpoint" / "state.json"
    state = json.loads(file.read_text())
    state.pop(key)
    file.write_text(json.dumps(state if value is None else {**state, key: value}))
    with pytest.raises(TrainingError, match=f"cannot be read: state.json lacks '{key}', or has it as something else"):
        read_checkpoint(tmp_path)


def test_a_history_that_is_damaged(tmp_path):
    learner = learner_of(torch.nn.Linear(2, 2))
    write_checkpoint(tmp_path, learner, {**TOLD, "history": [{"epoch": "first"}]})
    with pytest.raises(TrainingError, match="cannot be read: its history is damaged"):
        keeper.Keeper(tmp_path, {}, resume=True).restore(learner)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Linear(3, 2), r"module.weight is \(2, 2\) there, \(2, 3\) here"),
        (torch.nn.Linear(2, 2, bias=False), r"module.bias is \(2,\) there, missing here"),
        (torch.nn.Sequential(torch.nn.Linear(2, 2)), r"module.0.bias is missing there, \(2,\) here"),
    ],
)
def test_another_network_is_told_from_a_file_that_is_gone(tmp_path, module, message):
    write_checkpoint(tmp_path, learner_of(torch.nn.Linear(2, 2)), TOLD)
    state = read_checkpoint(tmp_path)
    with pytest.raises(TrainingError, match=f"is of another network: {message}"):
        restore(tmp_path, state, learner_of(module))
    (tmp_path / "checkpoint" / "state.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"cannot be read: .*state.safetensors: No such file or directory"):
        restore(tmp_path, state, learner_of(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_kept(tmp_path, value):
    learner = learner_of(torch.nn.Linear(2, 2))
    kept = keeper.Keeper(tmp_path, {}, resume=False)
    kept.begin(learner, [], 4)
    with torch.no_grad():
        learner.module.bias[1] = value
    learner.epoch = 1
    with pytest.raises(
        TrainingError,
        match="weights are NaN or infinite after epoch 2, step 0: try a lower learning rate; the checkpoint of epoch 1",
    ):
        kept.see(learner, [RECORD], epoch_over=True)
    assert read_checkpoint(tmp_path)["epoch"] == 0


def test_a_loss_that_the_last_step_has_spoilt():
    """One step an epoch: what it did to the weights shows on the pictures set aside alone."""
    with pytest.raises(TrainingError, match=r"the loss is (NaN|infinite) in epoch 1, after its last step, on the pict"):
        vk.train(colours(), epochs=1, learning_rate=1e36)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    out = tmp_path_factory.mktemp("ended") / "run"
    return vk.train(colours(), epochs=1, out=out)


def test_the_record_tells_data_and_model(ended):
    record = read_settings(ended.folder)["training"]
    assert {part: one["pictures"] for part, one in record["data"].items()} == {"train": 12, "val": 4}
    assert len(record["learnt"]["digests"]) == 12 * 12
    assert record["begun_with"] == {"network": "visionkit:simple_cnn"}
    card = (ended.folder / "README.md").read_text()
    assert "begun_with" in card
    assert record["learnt"]["digests"] not in card
    assert vk.load_model(ended.folder).training_record == record


def test_what_is_saved_again_keeps_its_record(ended, tmp_path):
    vk.save_model(vk.load_model(ended.folder), tmp_path / "again")
    assert read_settings(tmp_path / "again")["training"] == read_settings(ended.folder)["training"]


def test_another_call_is_not_answered_by_a_run_that_has_ended(ended):
    pairs = colours()
    assert vk.train(pairs, epochs=1, out=ended.folder, resume=True).history == ended.history
    other = [(picture ^ np.uint8(i == 3), label) for i, (picture, label) in enumerate(pairs)]
    named = [(picture, "blue" if i == 0 else label) for i, (picture, label) in enumerate(pairs)]
    message = r"other data: \d+ pictures .* now, with another content, order or label; give another out="
    for data in (other, named, list(reversed(pairs))):
        with pytest.raises(TrainingError, match=message):
            vk.train(data, epochs=1, out=ended.folder, resume=True)
    with pytest.raises(TrainingError, match="other data: 12 pictures to learn from then, 8 now; give another out="):
        vk.train(pairs, epochs=1, validation=0.5, out=ended.folder, resume=True)
    with pytest.raises(TrainingError, match="was trained from another model, or from other weights"):
        vk.train(pairs, model="torchvision:resnet18", epochs=1, out=ended.folder, resume=True)


def test_a_run_that_was_fine_tuned_from_other_weights(tmp_path):
    def model(seed):
        torch.manual_seed(seed)
        return vk.load_model("visionkit:simple_cnn", pretrained=False, device="cpu")

    run = vk.fine_tune(colours(), model=model(0), epochs=1, out=tmp_path / "run")
    again = vk.fine_tune(colours(), model=model(0), epochs=1, out=tmp_path / "run", resume=True)
    assert again.history == run.history
    with pytest.raises(TrainingError, match="was trained from another model, or from other weights"):
        vk.fine_tune(colours(), model=model(1), epochs=1, out=tmp_path / "run", resume=True)


def own_network(width=4):
    layers = [
        torch.nn.Conv2d(3, width, 3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(width, 2),
    ]
    return torch.nn.Sequential(*layers)


def test_a_run_of_a_module_of_ones_own(tmp_path):
    run = vk.train(colours(), model=own_network(), epochs=1, out=tmp_path / "run")
    mine = own_network()  # other first weights, as in a script that is started again
    before = copy.deepcopy(mine.state_dict())
    again = vk.train(colours(), model=mine, epochs=1, out=tmp_path / "run", resume=True)
    assert again.history == run.history
    picture = colours()[0][0]
    then, now = (vk.classify(picture, model=one.model).model_dump(exclude={"model"}) for one in (run, again))
    assert then == now
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    with pytest.raises(TrainingError, match="was trained from another model, or from other weights"):
        vk.train(colours(), model=own_network(width=5), epochs=1, out=tmp_path / "run", resume=True)


def test_a_head_over_a_head_over_a_module_of_ones_own(tmp_path):
    model = vk.wrap_model(own_network(), preprocess=vk.Preprocess(size_wh=(8, 8)), device="cpu")
    first = vk.fine_tune(colours(), model=model, epochs=1, out=tmp_path / "run")
    again = vk.fine_tune(colours(), model=model, epochs=1, out=tmp_path / "run", resume=True)
    assert again.history == first.history
    second = vk.fine_tune(colours(), model=first.model, epochs=1, out=tmp_path / "second")
    again = vk.fine_tune(colours(), model=first.model, epochs=1, out=tmp_path / "second", resume=True)
    assert again.history == second.history


def test_a_run_that_is_damaged(ended, tmp_path):
    shutil.copytree(ended.folder, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"run.json cannot be read: it is damaged"):
        vk.train(colours(), epochs=1, out=tmp_path / "run", resume=True)


def test_the_part_that_was_learnt_of_many_is_estimated(monkeypatch):
    from visionkit.training import origin
    from visionkit.training.data import read_data

    monkeypatch.setattr(origin, "MOST_KEPT", 100)
    data = read_data([(bytes([i % 256, i // 256]), "ab"[i % 2]) for i in range(1200)])
    learn, rest = data.choose(range(900)), data.choose(range(900, 1200))
    record = origin_of(learn, rest, {})
    assert len(record["learnt"]["digests"]) == 1200
    assert learnt_share(record, contents_of(learn.sources)).share == 1.0
    assert learnt_share(record, contents_of(rest.sources)).share == 0.0
    estimate = learnt_share(record, contents_of(data.sources))
    assert estimate.share == pytest.approx(0.75, abs=0.1)
    assert 100 == estimate.found < estimate.told < 200


def test_a_model_that_is_trained_on_keeps_what_it_learnt_before(ended, tmp_path):
    first, second = colours(), colours(seed=1)
    run = vk.fine_tune(second, model=str(ended.folder), epochs=1, out=tmp_path / "second")
    [row] = vk.evaluate(run.model, [*first, *second]).rows
    assert (row.learnt, row.learnt_told) == (0.75, 32)
    record = vk.fine_tune(second, model=run.model, epochs=1, out=tmp_path / "third").model.training_record
    assert record["learnt"] == run.model.training_record["learnt"]


def test_what_was_learnt_of_many_and_then_of_more_is_estimated(monkeypatch):
    from visionkit.training import origin
    from visionkit.training.data import read_data

    monkeypatch.setattr(origin, "MOST_KEPT", 100)
    data = read_data([(bytes([i % 256, i // 256]), "ab"[i % 2]) for i in range(2000)])
    first = origin_of(data.choose(range(900)), data.choose(range(1900, 2000)), {})
    for more, pictures in ((range(900, 1500), 1500), (range(900, 905), 905)):
        record = origin_of(data.choose(more), data.choose(range(1900, 2000)), {}, first)
        assert record["learnt"]["pictures"] == pictures
        learnt = data.choose([*range(900), *more])
        assert learnt_share(record, contents_of(learnt.sources)).share == 1.0
        assert learnt_share(record, contents_of(data.choose(range(1500, 2000)).sources)).share == 0.0


def test_a_few_of_many_are_no_ground_for_an_estimate(monkeypatch):
    """Of 60 pictures, half of them learnt from, about seven are told: no share comes of it, but what is sure."""
    from visionkit.training import origin
    from visionkit.training.data import read_data

    monkeypatch.setattr(origin, "MOST_KEPT", 100)
    data = read_data([(bytes([i % 256, i // 256]), "ab"[i % 2]) for i in range(930)])
    record = origin_of(data.choose(range(900)), data.choose(range(900, 930)), {})
    share, found, told = learnt_share(record, contents_of(data.choose(range(870, 930)).sources))
    assert share is None
    assert 0 < found < told < 20


@pytest.mark.parametrize(
    "record",
    [None, 3, {}, {"learnt": 3}, {"learnt": {"digests": 3}}, {"learnt": {"digests": "", "pictures": 0}}],
)
def test_a_record_that_tells_nothing(record):
    assert learnt_share(record, contents_of([b"x"])) == (None, 0, 0)


def test_pictures_in_memory_are_known_by_what_they_show():
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    one, other, third, address = contents_of([array, vk.load_image(array), tensor, "https://x.test/a"])
    assert one == other == third
    assert address is None
    red, blue = (Image.new("P", (4, 4)) for _ in range(2))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert len({*contents_of([red, blue])}) == 2


def test_pictures_in_memory_that_cannot_be_read_are_left_out_with_a_folder_too(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
    cut = Image.open(io.BytesIO(file.getvalue()[:2000]))
    half = torch.rand(3, 8, 8, generator=torch.manual_seed(0)).bfloat16()
    run = vk.train([*colours(), (cut, "red"), (half, "red")], epochs=1, out=tmp_path / "run")
    assert len(run.failures) == 1
    board = vk.evaluate(run.model, [*colours(), (half, "red")])
    assert board.rows[0].learnt is not None


class Colours(torch.utils.data.Dataset):
    """Of one seed: items by position, with labels of their own."""

    classes = ("blue", "red")

    def __init__(self, seed):
        self.pairs = colours(seed=seed)
        self.targets = [self.classes.index(label) for _, label in self.pairs]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index][0], self.targets[index]


def test_a_data_set_with_other_pictures_of_the_same_labels(tmp_path):
    run = vk.train(Colours(0), epochs=1, out=tmp_path / "run")
    assert vk.train(Colours(0), epochs=1, out=tmp_path / "run", resume=True).history == run.history
    with pytest.raises(TrainingError, match="other data: .* now, with another content, order or label"):
        vk.train(Colours(1), epochs=1, out=tmp_path / "run", resume=True)
    assert vk.evaluate(run.model, Colours(0)).rows[0].learnt == 0.75
    assert vk.evaluate(run.model, Colours(1)).rows[0].learnt == 0.0


def test_curves_are_written_and_nothing_is_left_running(tmp_path):
    before = set(threading.enumerate())
    run = vk.train(colours(), epochs=2, out=tmp_path / "run")
    [file] = (run.folder / "tensorboard").iterdir()
    data = file.read_bytes()
    assert data.count(b"validation_loss") == 2
    assert set(threading.enumerate()) <= before


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are POSIX's")
def test_a_folder_whose_name_no_text_can_hold_has_no_curves(tmp_path, caplog):
    board = Board(tmp_path / "run\udcff")
    with caplog.at_level(logging.WARNING, "visionkit"):
        board.write(RECORD)
        board.write(RECORD)
        board.close()
    [message] = caplog.messages
    assert message.startswith("visionkit: no curves for TensorBoard: ")
