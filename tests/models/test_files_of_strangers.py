"""Exported files of someone else: what they say of themselves is checked, and nothing in them runs or leads away."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import visionkit as vk
from visionkit.errors import InputError, ModelLoadError
from visionkit.models.exported import Record
from visionkit.models.folder import sealed
from visionkit.models.onnx_models import read_record

RECORD = Record(
    name="mine",
    preprocess=vk.Preprocess(size_wh=(8, 8)),
    labels=("a", "b"),
    temperature=2.0,
    multi_label=False,
    outputs=("logits",),
    answers=b"",
)


def test_a_record_comes_back():
    assert Record.from_json(RECORD.to_json(), "it") == RECORD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ["features"]}, "outputs .'features'. with labels"),
        ({"labels": None}, "outputs .'logits'. without labels"),
        ({"outputs": "logits"}, "outputs 'logits' with labels"),
        ({"outputs": [["logits"]]}, "outputs"),
        ({"outputs": ["logits", "logits"]}, "outputs"),
        ({"outputs": []}, "outputs"),
        ({"outputs": {}}, "outputs"),
        ({"temperature": 0}, "the temperature 0 is none"),
        ({"temperature": True}, "the temperature True is none"),
        ({"temperature": "1"}, "the temperature '1' is none"),
        ({"answers": "é"}, ""),
        ({"preprocess": {"size_wh": 3}}, "size_wh"),
        ({"labels": ["a", "a"]}, "given twice"),
    ],
)
def test_records_that_contradict_themselves_are_refused(change, message):
    text = json.dumps(sealed({**json.loads(RECORD.to_json()), **change}))
    with pytest.raises(ModelLoadError, match=f"it: its record is malformed: .*{message}"):
        Record.from_json(text, "it")


def test_a_number_beyond_all_is_refused():
    with pytest.raises(ModelLoadError, match="is no valid JSON"):
        Record.from_json(RECORD.to_json().replace('"temperature": 2.0', '"temperature": 1e999'), "it")


def elsewhere(shape):
    tensor = numpy_helper.from_array(np.zeros(shape, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_a_default_of_a_function():
    default = helper.make_attribute("value", elsewhere(3))
    opset = helper.make_opsetid("", 18)
    function = helper.make_function("mine", "f", [], ["y"], [], [opset], attribute_protos=[default])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[function])


def in_a_graph_of_sparse_tensors_alone():
    sparse = helper.make_sparse_tensor(elsewhere(1), numpy_helper.from_array(np.zeros(1, np.int64)), [3])
    inner = helper.make_graph([], "inner", [], [], sparse_initializer=[sparse])
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    return helper.make_model(helper.make_graph([node], "g", [], []))


@pytest.mark.parametrize("make", [in_a_default_of_a_function, in_a_graph_of_sparse_tensors_alone])
def test_weights_in_other_files_are_found_wherever_they_hide(make):
    with pytest.raises(ModelLoadError, match="it has its weights in other files, which are never opened"):
        read_record(make().SerializeToString(), "it")
    assert read_record(helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(), "it") is None


def test_a_device_that_is_none():
    with pytest.raises(InputError, match="onnx: models run on the CPU, not on gpu"):
        vk.load_model("onnx:it.onnx", device="gpu")


def test_a_program_of_torch_is_not_opened_unless_it_is_trusted(tmp_path):
    from typer.testing import CliRunner

    from visionkit.cli.app import app

    file = tmp_path / "model.pt2"
    file.write_bytes(b"no program")
    with pytest.raises(InputError, match=r"may hold code, which torch runs .* verify\(…, trusted=True\) or visionkit"):
        vk.verify(file)
    with pytest.raises(ModelLoadError, match="is no program of torch.export"):
        vk.verify(file, trusted=True)
    done = CliRunner().invoke(app, ["verify", str(file)])
    assert (done.exit_code, "may hold code" in done.output) == (2, True)
    done = CliRunner().invoke(app, ["verify", "--trusted", str(file)])
    assert (done.exit_code, "is no program of torch.export" in done.output) == (1, True)
