"""Exported models: one file each, which says how to use it, is proven, and comes back by `onnx:`."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import visionkit as vk
from support.backbones import save_backbone
from visionkit.cnn import SimpleCNN
from visionkit.errors import CapabilityError, InputError, ModelLoadError, ModelNotFoundError, SaveError
from visionkit.training.heads import HeadClassifier

LABELS = ["red", "<b>green</b>", "blue\n"]
PREPROCESS = vk.Preprocess(size_wh=(40, 32), resize="squash", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
ENDS = {"onnx": ".onnx", "torch": ".pt2"}


def small(temperature=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
        )
        for layer in module:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight)
    model = vk.wrap_model(module, preprocess=PREPROCESS, labels=LABELS, device="cpu")
    model.temperature = temperature
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return vk.export_model(small(temperature=2.5), tmp_path_factory.mktemp("exported") / "small.onnx")


def scores(model, pictures):
    return np.array([[answer.scores[label] for label in LABELS] for answer in vk.classify(pictures, model=model)])


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_the_file_answers_as_the_model_does(kind, photos, tmp_path):
    model = small(temperature=2.5)
    file = vk.export_model(model, tmp_path / f"small{ENDS[kind]}", format=kind)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
    report = vk.verify(file, trusted=kind == "torch")
    assert report.passed
    assert report.inputs == 4
    assert report.max_difference <= 1e-5
    assert str(report).startswith(f"{file}: the same answers")
    assert model.module[5].weight.requires_grad, "the export changed the model"


def test_an_onnx_file_is_a_model(exported, photos):
    model, again = small(temperature=2.5), vk.load_model(f"onnx:{exported}")
    assert np.allclose(scores(model, photos), scores(f"onnx:{exported}", photos), atol=1e-4)
    assert np.allclose(scores(model, photos[:1]), scores(again, photos[:1]), atol=1e-4)
    assert np.ptp(scores(model, photos), axis=0).max() > 0.01, "the answers do not hang on the picture"
    ours, theirs = vk.embed(photos, model=again).vectors, vk.embed(photos, model=model).vectors
    assert np.allclose(ours, theirs, atol=1e-4)
    assert again.labels == tuple(LABELS)
    assert repr(again).startswith("ExportedClassifierAndEmbedder('onnx:")


def test_others_can_use_the_file_with_what_stands_in_it(exported, cat):
    session = onnxruntime.InferenceSession(exported)
    record = json.loads(session.get_modelmeta().custom_metadata_map["visionkit"])
    assert record["labels"] == LABELS
    assert record["temperature"] == 2.5
    assert 0 <= record["max_difference"] <= 1e-4
    assert record["preprocess"]["size_wh"] == [40, 32]
    fields = record["preprocess"]
    picture = np.asarray(vk.load_image(cat))
    batch = next(vk.Batches([picture], vk.Preprocess.from_dict(fields), device="cpu", speed="exact"))
    logits, features = session.run(["logits", "features"], {"pixels": batch.pixels.contiguous().numpy()})
    assert features.shape == (1, 32)
    chances = torch.from_numpy(logits / record["temperature"]).softmax(1)[0].tolist()
    assert chances == pytest.approx(scores(small(2.5), [picture])[0].tolist(), abs=1e-4)
    onnx.checker.check_model(onnx.load(exported))


def simple_cnn():
    return vk.load_model("visionkit:simple_cnn", device="cpu")


def vit(request):
    folder = save_backbone("ViT", request.getfixturevalue("tmp_path") / "vit", head=False)
    return vk.load_model(f"transformers:{folder}", device="cpu")


KINDS = {
    "simple": lambda _: simple_cnn(),
    "embedder": lambda _: vk.wrap_model(SimpleCNN(4).features, preprocess=PREPROCESS, device="cpu"),
    "head": lambda _: HeadClassifier(simple_cnn(), nn.Linear(128, 2), ["a", "b"]),
    "open_clip": lambda r: vk.load_model(f"open_clip:{r.getfixturevalue('tiny_folder')}", device="cpu"),
    "transformers": vit,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, tmp_path, request, photos):
    model = KINDS[kind](request)
    file = vk.export_model(model, tmp_path / "model.onnx")
    again = vk.load_model(f"onnx:{file}")
    assert np.allclose(vk.embed(photos, model=again).vectors, vk.embed(photos, model=model).vectors, atol=1e-4)
    assert hasattr(again, "class_logits") == hasattr(model, "class_logits")
    assert vk.verify(file).passed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_the_embedded_network(kind, tmp_path, photos):
    model = vk.load_model("visionkit:efficientnet_lite0", device="cpu")
    file = vk.export_model(model, tmp_path / f"lite{ENDS[kind]}", format=kind)
    assert vk.verify(file, trusted=True).max_difference <= 1e-4
    if kind == "onnx":
        again = vk.load_model(f"onnx:{file}")
        assert [a.label for a in vk.classify(photos, model=again)] == [
            a.label for a in vk.classify(photos, model=model)
        ]


def test_nothing_takes_the_place_of_an_older_file_before_it_is_proven(tmp_path, exported):
    class Drifting(nn.Module):
        """Each copy is another: what is exported is not what answers."""

        def __init__(self, shift=1):
            super().__init__()
            self.shift = shift

        def __deepcopy__(self, _):
            return Drifting(self.shift + 1)

        def forward(self, pixels):
            return pixels.mean((2, 3)) * self.shift

    class Moody(nn.Module):
        def forward(self, pixels):
            return pixels.mean((2, 3)) * (2 if float(pixels.mean()) > 0 else 3)

    target = tmp_path / "old.onnx"
    target.write_bytes(exported.read_bytes())
    for own, message in ((Drifting(), "the file answers otherwise, by up to"), (Moody(), "was not exported: ")):
        model = vk.wrap_model(own, preprocess=PREPROCESS, labels=LABELS, device="cpu")
        with pytest.raises(SaveError, match=message):
            vk.export_model(model, target)
    assert target.read_bytes() == exported.read_bytes()
    assert os.listdir(tmp_path) == ["old.onnx"]


def test_arguments(tmp_path, exported):
    model = small()
    with pytest.raises(InputError, match="format='tflite' is none; choose one of 'onnx', 'torch'"):
        vk.export_model(model, tmp_path / "a.onnx", format="tflite")
    with pytest.raises(InputError, match="must end in '.pt2' for format='torch'"):
        vk.export_model(model, tmp_path / "a.onnx", format="torch")
    with pytest.raises(CapabilityError, match="colors:mean cannot be exported: it has no module"):
        vk.export_model(vk.load_model("colors:mean"), tmp_path / "a.onnx")
    with pytest.raises(CapabilityError, match="cannot be exported"):
        vk.export_model(vk.load_model(f"onnx:{exported}"), tmp_path / "a.onnx")
    with pytest.raises(OSError, match="No such file"):
        vk.export_model(model, tmp_path / "nowhere" / "a.onnx")
    with pytest.raises(ModelNotFoundError, match="there is no such file"):
        vk.load_model("onnx:nowhere.onnx")
    with pytest.raises(InputError, match="run on the CPU, not on cuda"):
        vk.load_model(f"onnx:{exported}", device="cuda")
    with pytest.raises(InputError, match="says itself how it wants its pictures"):
        vk.load_model(f"onnx:{exported}", preprocess=PREPROCESS)


def changed(exported, target, change):
    model = onnx.load(exported)
    change(model)
    target.write_bytes(model.SerializeToString())
    return target


def other_labels(model):
    (entry,) = model.metadata_props
    entry.value = entry.value.replace("red", "rot")


def other_weights(model):
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.raw_data = numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.5)).raw_data


def weights_elsewhere(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def weights_elsewhere_in_a_branch(model):
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(3, np.float32)))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    branch = helper.make_graph([constant], "then", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [3])])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def test_files_that_were_changed(exported, tmp_path):
    target = tmp_path / "changed.onnx"
    with pytest.raises(ModelLoadError, match="labels, preprocessing or another setting were changed"):
        vk.load_model(f"onnx:{changed(exported, target, other_labels)}")
    report = vk.verify(changed(exported, target, other_weights))
    assert not report.passed
    assert "NOT the answers" in str(report)
    for change in (weights_elsewhere, weights_elsewhere_in_a_branch):
        with pytest.raises(ModelLoadError, match="has its weights in other files, which are never opened"):
            vk.load_model(f"onnx:{changed(exported, target, change)}")
    target.write_bytes(b"no onnx" * 9)
    with pytest.raises(ModelLoadError, match="is no ONNX file|cannot be run"):
        vk.load_model(f"onnx:{target}", preprocess=PREPROCESS)
    (tmp_path / "a.pt2").write_bytes(b"no zip")
    with pytest.raises(ModelLoadError, match="is no program of torch.export"):
        vk.verify(tmp_path / "a.pt2", trusted=True)
    torch.export.save(torch.export.export(nn.Identity(), (torch.zeros(1),)), tmp_path / "b.pt2")
    with pytest.raises(ModelLoadError, match="was not written by vk.export_model"):
        vk.verify(tmp_path / "b.pt2", trusted=True)


def foreign(path, batch="N", kind=TensorProto.FLOAT, channels=3):
    """A network of two nodes: the mean of each channel, and twice that."""
    pixels = helper.make_tensor_value_info("x", kind, [batch, channels, 32, 40])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels]) for name in ("y", "z")]
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0),
        helper.make_node("Add", ["y", "y"], ["z"]),
    ]
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    graph = helper.make_graph(nodes, "g", [pixels], outputs, [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_a_foreign_file_needs_what_it_does_not_say(batch, tmp_path, photos):
    file = foreign(tmp_path / "foreign.onnx", batch)
    with pytest.raises(InputError, match=r"does not say how it wants its pictures: give preprocess=vk.Preprocess"):
        vk.load_model(f"onnx:{file}")
    with pytest.raises(ModelLoadError, match="was not written by vk.export_model"):
        vk.verify(file)
    model = vk.load_model(f"onnx:{file}", preprocess=PREPROCESS, labels=LABELS)
    batches = next(vk.Batches(photos, PREPROCESS, device="cpu", speed="exact"))
    expected = batches.pixels.mean((2, 3)).softmax(1).numpy()
    assert np.allclose(
        scores(vk.load_model(f"onnx:{file}", preprocess=PREPROCESS, labels=LABELS, speed="exact"), photos),
        expected,
        atol=1e-5,
    )
    assert not hasattr(model, "image_features")
    embedder = vk.load_model(f"onnx:{file}", preprocess=PREPROCESS.to_dict())
    assert vk.embed(photos, model=embedder).vectors.shape == (len(photos), 3)
    with pytest.raises(ModelLoadError, match="gives 3 logits, but there are 2 labels"):
        vk.classify(photos[0], model=vk.load_model(f"onnx:{file}", preprocess=PREPROCESS, labels=["a", "b"]))
    with pytest.raises(ModelLoadError, match=r"does not run on \(1, 3, 64, 64\)"):
        vk.embed(photos[0], model=vk.load_model(f"onnx:{file}", preprocess=vk.Preprocess(size_wh=(64, 64))))


def test_a_foreign_file_that_takes_no_pictures(tmp_path):
    file = foreign(tmp_path / "doubles.onnx", kind=TensorProto.DOUBLE)
    with pytest.raises(ModelLoadError, match="cannot be run|not one input of pictures"):
        vk.load_model(f"onnx:{file}", preprocess=PREPROCESS)


def test_the_command(tmp_path, exported):
    from typer.testing import CliRunner

    from visionkit.cli.app import app

    folder = vk.save_model(vk.load_model("visionkit:simple_cnn", device="cpu", num_classes=3), tmp_path / "model")
    target = tmp_path / "out.pt2"
    done = CliRunner().invoke(app, ["export", str(folder), str(target)])
    assert done.exit_code == 0, done.output
    assert "answers as the model does" in done.output
    assert "check again with: visionkit verify --trusted" in done.output
    done = CliRunner().invoke(app, ["verify", "--trusted", str(target)])
    assert done.exit_code == 0
    assert "the same answers" in done.output
    bad = changed(exported, tmp_path / "bad.onnx", other_weights)
    assert CliRunner().invoke(app, ["verify", str(bad)]).exit_code == 1
    for arguments in ([str(folder), "a.txt"], [str(folder), "a.onnx", "--format", "torch"], ["nothing", "a.onnx"]):
        assert CliRunner().invoke(app, ["export", *arguments]).exit_code == 2
    assert CliRunner().invoke(app, ["export", str(folder), str(tmp_path / "none" / "a.pt2")]).exit_code == 1
