"""`transformers:` classifiers and backbones against transformers itself, from folders in the hub's layout."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

import visionkit as vk
from support.backbones import NAMES, SIDE, save_backbone
from visionkit.errors import CapabilityError, InputError, ModelLoadError, ModelNotFoundError

KINDS = ["ViT", "Dinov2", "ConvNext", "ResNet", "Swin"]


def pixels_of(folder, picture):
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return processor(images=[picture], return_tensors="pt")["pixel_values"]


def odd_pictures(photos):
    """Photographs, and crops of them whose centre lies on half a pixel."""
    pictures = [vk.load_image(path) for path in photos]
    return [*pictures[:2], pictures[0].crop((0, 0, 203, 300)), pictures[1].crop((0, 0, 301, 214))]


@pytest.mark.parametrize("kind", KINDS)
def test_classifies_as_transformers_does(kind, backbone_folders, photos):
    folder = backbone_folders[kind][0]
    model = vk.load_model(f"transformers:{folder}", task="classify", speed="exact")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    assert model.labels == tuple(NAMES)
    seen = set()
    for picture in odd_pictures(photos):
        ours = vk.classify(picture, model=model)
        with torch.inference_mode():
            scores = theirs(pixels_of(folder, picture)).logits.softmax(1)[0]
        assert [ours.scores[name] for name in NAMES] == pytest.approx(scores.tolist(), abs=1e-4)
        seen.add(round(float(scores[0]), 3))
    assert len(seen) > 2, "the answers do not hang on the picture"


def test_classifies_as_the_pipeline_of_transformers_does(vit_folder, cat):
    theirs = transformers.pipeline("image-classification", model=str(vit_folder), top_k=3)(vk.load_image(cat))
    ours = vk.classify(cat, model=f"transformers:{vit_folder}", speed="exact")
    assert {one["label"]: one["score"] for one in theirs} == pytest.approx(dict(ours.scores), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_embeds_as_transformers_pools(kind, backbone_folders, photos):
    folder = backbone_folders[kind][1]
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    pictures = odd_pictures(photos)
    ours = vk.embed(pictures, model=vk.load_model(f"transformers:{folder}", speed="exact")).vectors
    with torch.inference_mode():
        pooled = [theirs(pixels_of(folder, p)).pooler_output.flatten(1) for p in pictures]
    assert np.allclose(ours, torch.nn.functional.normalize(torch.cat(pooled)).numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_embeds_with_what_enters_its_head(kind, backbone_folders, cat):
    model = vk.load_model(f"transformers:{backbone_folders[kind][0]}", speed="exact")
    batch = next(vk.Batches([cat], model.preprocess, device="cpu", speed="exact"))
    head = [m for m in model.module.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.inference_mode():
        assert torch.allclose(head(model.image_features(batch)), model.class_logits(batch), atol=1e-5)


@pytest.mark.parametrize("kind", ["ViT", "ConvNext"])
@pytest.mark.parametrize("head", [0, 1], ids=["classifier", "backbone"])
def test_a_saved_one_needs_its_folder_no_more(kind, head, backbone_folders, tmp_path, cat):
    copy = shutil.copytree(backbone_folders[kind][head], tmp_path / "theirs")
    model = vk.load_model(f"transformers:{copy}", speed="exact")
    vectors = vk.embed(cat, model=model).vectors
    vk.save_model(model, tmp_path / "ours")
    shutil.rmtree(copy)
    assert str(tmp_path) not in (tmp_path / "ours" / "visionkit.json").read_text().replace(model.name, "")
    assert vk.verify(tmp_path / "ours").passed
    again = vk.load_model(tmp_path / "ours", speed="exact")
    assert np.allclose(vk.embed(cat, model=again).vectors, vectors, atol=1e-5)


def test_weights_without_a_pooling_layer_give_the_class_token(tmp_path, cat):
    folder = save_backbone("ViT", tmp_path / "vit", model_class="ViTForMaskedImageModeling")
    model = vk.load_model(f"transformers:{folder}", task="embed", speed="exact")
    theirs = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        token = theirs(pixels_of(folder, vk.load_image(cat))).last_hidden_state[:, 0]
    ours = vk.embed(cat, model=model).vectors
    assert np.allclose(ours, torch.nn.functional.normalize(token).numpy(), atol=1e-4)
    vk.save_model(model, tmp_path / "saved")


def test_a_bare_name_is_settled_by_the_configuration(backbone_folders, rt_detr_folder, tmp_path):
    assert vk.load_model(f"transformers:{backbone_folders['ViT'][0]}").labels == tuple(NAMES)
    assert not hasattr(vk.load_model(f"transformers:{backbone_folders['ViT'][1]}"), "labels")
    assert hasattr(vk.load_model(f"transformers:{rt_detr_folder}"), "detect_boxes")
    folder = shutil.copytree(rt_detr_folder, tmp_path / "silent")
    change(folder, architectures=None)
    with pytest.raises(CapabilityError, match=r"names no architectures; say it: .*task='detect'"):
        vk.load_model(f"transformers:{folder}")
    assert hasattr(vk.load_model(f"transformers:{folder}", task="detect"), "detect_boxes")
    change(folder, architectures=["BertForMaskedLM"])
    with pytest.raises(CapabilityError, match="names BertForMaskedLM; say it"):
        vk.load_model(f"transformers:{folder}")
    with pytest.raises(CapabilityError, match="transformers: models do classify, embed, detect"):
        vk.load_model(f"transformers:{folder}", task="ask")
    with pytest.raises(ModelNotFoundError, match="is no folder here"):
        vk.load_model("transformers:/no/such/folder")


def change(folder, file="config.json", **fields):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_names_that_repeat_are_told_apart_and_stand_in_the_order_of_their_numbers(tmp_path):
    twelve = {i: "crane" if i in (3, 11) else f"bird {i}" for i in range(12)}
    folder = save_backbone("ViT", tmp_path / "vit", id2label=twelve, label2id={})
    labels = vk.load_model(f"transformers:{folder}", task="classify").labels
    assert labels[2:4] == ("bird 2", "crane (3)")
    assert labels[10:] == ("bird 10", "crane (11)")


@pytest.mark.parametrize(
    ("processor", "reason"),
    [
        (lambda: transformers.BitImageProcessor(do_center_crop=False), "its settings are size {'shortest_edge': 224}"),
        (
            lambda: transformers.BeitImageProcessor(
                size={"height": 80, "width": 80}, do_center_crop=True, crop_size={"height": 64, "width": 64}
            ),
            r"their size is \(64, 64\), not \(80, 80\)",
        ),
        (lambda: transformers.ViTImageProcessor(resample=1), r"Pillow's filter 1"),
        (lambda: transformers.ViTImageProcessor(do_rescale=False), "multiplies pixels by 1"),
        (lambda: transformers.ViTImageProcessor(do_resize=False), "makes pixels that visionkit's Preprocess does not"),
    ],
)
def test_pictures_wanted_in_another_way_are_refused(processor, reason, vit_folder, tmp_path):
    folder = shutil.copytree(vit_folder, tmp_path / "vit")
    processor().save_pretrained(folder)
    with pytest.raises(ModelLoadError, match=reason):
        vk.load_model(f"transformers:{folder}")


def test_a_size_that_the_network_does_not_take(vit_folder, tmp_path):
    folder = shutil.copytree(vit_folder, tmp_path / "vit")
    transformers.ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(folder)
    with pytest.raises(ModelLoadError, match="ViTForImageClassification does not run on 48×48 pixels: ValueError"):
        vk.load_model(f"transformers:{folder}")


def test_a_network_that_answers_otherwise_each_time(tmp_path):
    config = transformers.ViTMAEConfig(
        image_size=SIDE, patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    transformers.ViTMAEModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(tmp_path)
    with pytest.raises(CapabilityError, match="is no classifier or embedder: ViTMAEModel gives .* else each time"):
        vk.load_model(f"transformers:{tmp_path}")


def test_what_takes_words_too(tmp_path, vit_folder):
    folder = shutil.copytree(vit_folder, tmp_path / "clip")
    change(folder, architectures=["CLIPModel"], model_type="clip")
    with pytest.raises(CapabilityError, match="model_type is 'clip', and AutoModel of transformers"):
        vk.load_model(f"transformers:{folder}")


def test_files_of_a_stranger(vit_folder, tmp_path):
    folder = shutil.copytree(vit_folder, tmp_path / "vit")
    change(folder, auto_map={"AutoModelForImageClassification": "evil.py"})
    for task in (None, "classify", "embed"):
        with pytest.raises(ModelLoadError, match="config.json has the key 'auto_map'"):
            vk.load_model(f"transformers:{folder}", task=task)
    change(folder, auto_map=None)
    change(folder, "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.py"})
    with pytest.raises(ModelLoadError, match="preprocessor_config.json has the key 'auto_map'"):
        vk.load_model(f"transformers:{folder}")
    config = {"model_type": "vit", "auto_map": {"AutoConfig": "evil.py"}}
    with pytest.raises(ModelLoadError, match="has the key 'auto_map'"):
        vk.load_model("transformers:vit", task="classify", pretrained=False, config=config, preprocess={})


def test_random_weights_of_its_shape(vit_folder):
    model = vk.load_model(f"transformers:{vit_folder}", pretrained=False, num_classes=5)
    assert model.labels == tuple(f"class {i}" for i in range(5))
    with pytest.raises(InputError, match="num_classes= goes with pretrained=False"):
        vk.load_model(f"transformers:{vit_folder}", num_classes=5)
    with pytest.raises(InputError, match="config= goes with preprocess="):
        vk.load_model("transformers:vit", task="embed", config={"model_type": "vit"})
