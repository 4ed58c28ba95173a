"""Detectors of transformers, held against transformers' own processor, model and post-processing."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment

from visionkit.errors import CapabilityError, InputError, MissingExtraError, ModelLoadError, ModelNotFoundError
from visionkit.images import load_image
from visionkit.models import load_model
from visionkit.models.protocols import Detector, HasModule
from visionkit.pipeline import Batch
from visionkit.tasks.detect import detect

KINDS = ("rt_detr", "oblong", "d_fine", "lw_detr")
EVERYTHING = {"threshold": 0.0}
CONFIGS = ("config.json", "preprocessor_config.json")


@pytest.fixture(scope="module")
def detectors(detector_folders):
    return {kind: load(folder) for kind, folder in detector_folders.items()}


@pytest.fixture(scope="module")
def references(detector_folders):
    """Kind → transformers' own image processor and model."""
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    return {
        kind: (AutoImageProcessor.from_pretrained(folder), AutoModelForObjectDetection.from_pretrained(folder).eval())
        for kind, folder in detector_folders.items()
    }


def load(folder, **options):
    return load_model(f"transformers:{folder}", task="detect", device="cpu", speed="exact", **options)


def reference_answer(reference, picture, inputs=None):
    """Boxes clipped to the picture, label numbers, scores: what transformers says of one picture."""
    processor, model = reference
    inputs = inputs or processor(images=picture, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    height, width = picture.height, picture.width
    found = processor.post_process_object_detection(outputs, **EVERYTHING, target_sizes=[(height, width)])[0]
    boxes = np.clip(found["boxes"].numpy(), 0, [width, height, width, height])
    return boxes, [model.config.id2label[i] for i in found["labels"].tolist()], found["scores"].numpy()


def assert_same_places(boxes, labels, scores, reference, pixels):
    """Each box has a partner of the same label within `pixels`, one to one, of the same score.

    An untrained D-FINE says boxes whose right is left of their left; the verb orders corners, so both are ordered here.
    """
    their_boxes, their_labels, their_scores = reference
    boxes, their_boxes = (np.sort(b.reshape(-1, 2, 2), axis=1).reshape(-1, 4) for b in (boxes, their_boxes))
    assert len(boxes) == len(their_boxes) > 20
    far = np.abs(boxes[:, None] - their_boxes[None]).max(2)
    far += 1e6 * (np.array(labels)[:, None] != np.array(their_labels)[None])
    far += 1e6 * (np.abs(scores[:, None] - their_scores[None]) > 1e-4)  # one place may have two scores
    ours, theirs = linear_sum_assignment(far)
    assert far[ours, theirs].max() <= pixels


@pytest.mark.parametrize("kind", KINDS)
def test_same_tensor_gives_the_same_boxes(kind, detectors, references, photos):
    detector, reference = detectors[kind], references[kind]
    for photo in photos:
        picture = load_image(photo)
        inputs = reference[0](images=picture, return_tensors="pt")
        fit = detector.preprocess.fit(picture.size)
        (found,) = detector.detect_boxes(Batch(inputs["pixel_values"], ("x",), (0,), (fit,)), **EVERYTHING)
        boxes = fit.boxes_to_image(found.boxes_xyxy)
        expected = reference_answer(reference, picture, inputs)
        assert_same_places(boxes, found.labels, np.array(found.scores), expected, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_files_give_the_same_boxes(kind, detectors, references, photos):
    sizes = {load_image(p).size for p in photos}
    assert len({width / height for width, height in sizes}) > 1  # several shapes in one batch
    for photo, result in zip(photos, detect(photos, model=detectors[kind], **EVERYTHING), strict=True):
        picture = load_image(photo)
        assert result.size_wh == picture.size
        assert result.source == str(photo)
        expected = reference_answer(references[kind], picture)
        assert_same_places(result.boxes_xyxy, result.labels, result.scores, expected, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_picture_is_answered_as_among_several(kind, detectors, photos):
    together = detect(photos, model=detectors[kind], batch_size=3, **EVERYTHING)
    for photo, among in zip(photos, together, strict=True):
        alone = detect(photo, model=detectors[kind], **EVERYTHING)
        assert_same_places(
            alone.boxes_xyxy, alone.labels, alone.scores, (among.boxes_xyxy, among.labels, among.scores), 0.05
        )


@pytest.mark.parametrize("kind", KINDS)
def test_these_models_notice_another_resize(kind, detectors, references, photos):
    # otherwise the comparisons above would say nothing of the pixels
    detector = detectors[kind]
    picture = load_image(photos[0])
    by_pillow = picture.resize(detector.preprocess.size_wh, Image.Resampling.BOX)
    result = detect(by_pillow, model=detector, **EVERYTHING)
    scale = np.tile(np.array(picture.size) / by_pillow.size, 2)
    with pytest.raises(AssertionError):
        assert_same_places(
            result.boxes_xyxy * scale, result.labels, result.scores, reference_answer(references[kind], picture), 0.5
        )


def test_the_threshold_cuts_and_the_best_come_first(detectors, photos):
    everything = detect(photos[0], model=detectors["rt_detr"], **EVERYTHING)
    assert (np.diff(everything.scores) <= 0).all()
    middle = float(everything.scores[20])
    some = detect(photos[0], model=detectors["rt_detr"], threshold=middle)
    assert 0 < len(some) <= 20
    assert np.array_equal(some.scores, everything.scores[: len(some)])
    assert (some.scores > middle).all()
    assert len(detect(photos[0], model=detectors["rt_detr"], threshold=1.0)) == 0


def test_what_a_loaded_detector_is(detectors, detector_folders):
    detector = detectors["oblong"]
    assert isinstance(detector, Detector)
    assert isinstance(detector, HasModule)
    assert detector.name == f"transformers:{detector_folders['oblong']}"
    assert detector.labels == ("cat", "dog", "cup")
    assert not detector.module.training
    assert detector.preprocess.to_dict() == {
        **detector.preprocess.to_dict(),
        "size_wh": (192, 128),
        "resize": "squash",
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    assert repr(detector).startswith(f"TransformersDetector('{detector.name}', ")
    assert detectors["rt_detr"].preprocess.mean == (0.0, 0.0, 0.0)


def test_loading_is_quiet_and_leaves_the_bars_as_they_were(rt_detr_folder, capfd):
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()
    load(rt_detr_folder)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def test_names_given_twice_are_told_apart(make_rt_detr, photos):
    detector = load(make_rt_detr(id2label={0: "N/A", 1: "cat", 2: "N/A"}, label2id={"N/A": 0, "cat": 1}))
    assert detector.labels == ("N/A (0)", "cat", "N/A (2)")
    assert set(detect(photos[0], model=detector, **EVERYTHING).labels) <= set(detector.labels)


def test_labels_that_have_no_names_keep_transformers_own(make_rt_detr):
    assert load(make_rt_detr(id2label={0: "LABEL_0", 1: "LABEL_1"}, label2id={})).labels == ("LABEL_0", "LABEL_1")


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def copy(rt_detr_folder, tmp_path):
    """A copy of the folder that a test may spoil."""
    return shutil.copytree(rt_detr_folder, tmp_path / "copy")


def edit(folder, file, **fields):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_both_configurations_are_read_by_the_checked_reader(copy, file):
    edit(copy, file, backbone_config={"inner": [{"_attn_implementation": "evil/code"}]})
    with pytest.raises(ModelLoadError, match=rf"{file} has the key '_attn_implementation', which makes a library run"):
        load(copy)


def test_an_adapter_of_another_model(copy):
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "somewhere"}')
    with pytest.raises(ModelLoadError, match="holds an adapter of another model"):
        load(copy)


def test_an_index_that_names_weights_elsewhere(copy):
    from safetensors.torch import load_file

    (copy / "model.safetensors").rename(copy.parent / "outside.safetensors")
    shutil.copy(copy.parent / "outside.safetensors", copy / "model-1.safetensors")
    names = dict.fromkeys(load_file(copy / "model-1.safetensors"), "model-1.safetensors")
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    load(copy)
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "../outside.safetensors")}))
    with pytest.raises(
        ModelLoadError, match=r"index\.json names the weights '\.\./outside\.safetensors'; only safetensors"
    ):
        load(copy)


@pytest.mark.parametrize("ids", [(0, 1, 3), (1, 2, 3), (-1, 0, 1)])
def test_ids_of_labels_that_do_not_count_from_0(make_rt_detr, ids):
    folder = make_rt_detr(id2label={0: "cat", 1: "dog", 2: "cup"}, label2id={"cat": 0, "dog": 1, "cup": 2})
    edit(folder, "config.json", id2label={str(i): f"thing {i}" for i in ids})
    with pytest.raises(
        ModelLoadError, match=r"id2label must name the ids 0 to 2, each once, .*; it has -?\d in place of"
    ):
        load(folder)


@pytest.mark.parametrize("kind", ["bert", "grounding-dino", None, ["x"]])
def test_another_kind_of_model(copy, kind):
    edit(copy, "config.json", model_type=kind)
    with pytest.raises(
        CapabilityError, match=rf"cannot detect: its model_type is {re.escape(repr(kind))}, and .* d_fine, .*rt_detr"
    ):
        load(copy)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_folder_without_configuration(copy, file):
    (copy / file).unlink()
    with pytest.raises(ModelLoadError, match=f"the folder .*copy has no file {file}"):
        load(copy)


def test_weights_as_pickle_are_not_loaded(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="no weights as safetensors, the only form that is loaded"):
        load(copy)


def test_damaged_weights(copy):
    (copy / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelLoadError, match=r"transformers cannot load .*copy: SafetensorError: "):
        load(copy)


def test_weights_that_lack_a_part(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    lacking = next(k for k in weights if k.endswith("enc_output.0.weight"))
    del weights[lacking]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelLoadError, match=rf"1 weights are not in its files or of another shape: {lacking}"):
        load(copy)


def test_scores_that_transformers_gets_wrong(copy):
    edit(copy, "config.json", use_focal_loss=False)
    with pytest.raises(ModelLoadError, match=r"use_focal_loss=False, for which transformers' scores are wrong.*#32578"):
        load(copy)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"size": {"shortest_edge": 160, "longest_edge": 200}},
            r"RTDetrImageProcessor, keeps each picture's own shape \(\{.*'shortest_edge': 160.*\}\); detectors that",
        ),
        ({"do_resize": False}, r"keeps each picture's own shape \(no resize\)"),
        ({"resample": 1}, "resizes with Pillow's filter 1; nearest"),
        ({"rescale_factor": 1 / 127.5}, "multiplies pixels by 0.0078"),
        ({"do_rescale": False}, "multiplies pixels by 1; only 1/255 works today"),
        ({"image_processor_type": "ViTImageProcessor"}, "its image processor, ViTImageProcessor, is no detector's"),
        (
            {"image_processor_type": "RfDetrImageProcessor"},
            "RfDetrImageProcessor, makes other .*differ by up to 0",
        ),
        (
            {"image_processor_type": "RfDetrImageProcessor", "do_resize": True, "do_normalize": False},
            "RfDetrImageProcessor, makes other .*differ by up to 0",
        ),
        (
            {"do_pad": True, "pad_size": {"height": 200, "width": 200}},
            r"makes other pixels .*their size is \(200, 200\), not \(160, 160\)\), so its boxes",
        ),
        ({"image_processor_type": "NoSuchProcessor"}, "transformers cannot load .*copy: ValueError"),
    ],
    ids=str,
)
def test_preprocessing_that_would_differ_is_refused(copy, fields, message):
    edit(copy, "preprocessor_config.json", **fields)
    with pytest.raises(ModelLoadError, match=message):
        load(copy)


def test_another_speed_and_option(rt_detr_folder):
    with pytest.raises(InputError, match="speed 'warp' is not offered"):
        load_model(f"transformers:{rt_detr_folder}", task="detect", speed="warp")
    with pytest.raises(InputError, match="do not take the option 'cheese'; they take: none"):
        load_model(f"transformers:{rt_detr_folder}", task="detect", cheese=1)


# --- repositories --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["VISIONKIT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_is_missing_and_how_to_get_it(monkeypatch, photos, variable):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ModelNotFoundError) as caught:
        detect(photos[0])
    message = str(caught.value)
    for part in (
        "transformers:PekingU/rtdetr_r18vd_coco_o365 is not on this machine",
        variable,
        "(81 MB) from Hugging Face, repository PekingU/rtdetr_r18vd_coco_o365",
        "hf download PekingU/rtdetr_r18vd_coco_o365",
        "a local folder",
    ):
        assert part in message


def test_a_revision_is_part_of_the_advice(monkeypatch):
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="hf download owner/name --revision v2"):
        load_model("transformers:owner/name@v2", task="detect")


def test_no_folder_and_no_repository():
    with pytest.raises(ModelNotFoundError, match="no model 'transformers:/no/such/folder': '/no/such/folder' is no"):
        load_model("transformers:/no/such/folder", task="detect")


def test_a_repository_in_the_cache_needs_no_network(rt_detr_folder, tmp_path, monkeypatch, capfd):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--owner--tiny", "0" * 40
    shutil.copytree(rt_detr_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert load_model("transformers:owner/tiny", task="detect").name == "transformers:owner/tiny"
    assert load_model("transformers:owner/tiny@main", task="detect").name == "transformers:owner/tiny@main"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("absent", [*CONFIGS, "model.safetensors", "model-2.safetensors"])
def test_a_repository_that_is_here_in_part_is_to_be_fetched(rt_detr_folder, tmp_path, monkeypatch, absent):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    repository, commit = tmp_path / "models--owner--tiny", "0" * 40
    folder = shutil.copytree(rt_detr_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    if absent == "model-2.safetensors":
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": absent}}))
    else:
        (folder / absent).unlink()
    with pytest.raises(ModelNotFoundError, match="VISIONKIT_OFFLINE forbids to fetch it from Hugging Face, repo"):
        load_model("transformers:owner/tiny", task="detect")


def test_a_folder_with_an_at_sign(rt_detr_folder, tmp_path):
    folder = shutil.copytree(rt_detr_folder, tmp_path / "tiny@home")
    assert load(folder).name == f"transformers:{folder}"


def in_a_process(code, **variables):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_a_hub_out_of_reach(tmp_path):
    # a process of its own: the hub's client reads its address and whether it is offline once, at import
    code = (
        "from visionkit.models.snapshots import model_folder\n"
        "from visionkit.errors import ModelNotFoundError\n"
        "try:\n"
        "    model_folder('owner/name', prefix='transformers', patterns=['*.json'], whole=bool)\n"
        "except ModelNotFoundError as err:\n"
        "    print(err)"
    )
    result = in_a_process(code, HF_HUB_OFFLINE="", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert result.stderr == "visionkit: fetching transformers:owner/name from Hugging Face, repository owner/name\n"
    assert result.stdout.startswith("transformers:owner/name could not be fetched from Hugging Face")
    assert "hf download owner/name; or give a local folder" in result.stdout


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"'transformers', .*: pip install 'visionkit-py\[dense\]'"):
        detect("cat.jpg", model="transformers:owner/name")
