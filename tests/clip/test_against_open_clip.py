"""Features and probabilities are those of open_clip itself."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

import visionkit as vk
from visionkit.tasks.embed import embed
from visionkit.tasks.embed_texts import embed_texts
from visionkit.tasks.similarity import similarity

LABELS = ["cat", "cup of coffee", "rocket", "astronaut", "handwriting"]
PROMPTS = ["a photo of a {}.", "a drawing of the {}.", "{}"]


@pytest.fixture(scope="module")
def vit_b_32(tmp_path_factory, write_clip):
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    return write_clip(tmp_path_factory.mktemp("clip") / "ViT-B-32", config, seed=0)


@pytest.fixture(scope="module")
def tall(tmp_path_factory, photos):
    """A photograph three times as high as wide: no other of them is."""
    path = tmp_path_factory.mktemp("photos") / "tall.png"
    with Image.open(photos[0]) as image:
        image.crop((100, 0, 100 + image.height // 3, image.height)).save(path)
    return path


def unit(features):
    return torch.nn.functional.normalize(features, dim=-1)


def by_label(results):
    return np.array([[r.scores[label] for label in LABELS] for r in results])


def measure(folder, sources, reference):
    """The largest differences to open_clip, on the same tensor and from files."""
    network, transform, tokenizer = reference(folder)
    model = vk.load_model(f"open_clip:{folder}", device="cpu", speed="exact")
    batch = next(vk.Batches(sources, model.preprocess, device="cpu", speed="exact"))
    from_files = torch.stack([transform(Image.open(p).convert("RGB")) for p in sources])
    with torch.inference_mode():
        weights = open_clip.build_zero_shot_classifier(network, tokenizer, LABELS, PROMPTS)
        scale = network.logit_scale.exp()
        same, files = (network.encode_image(x, normalize=True) for x in (batch.pixels, from_files))
        chances = [(scale * f @ weights).softmax(1).numpy() for f in (same, files)]
        texts = network.encode_text(tokenizer(LABELS), normalize=True).numpy()
    ours = embed(sources, model=model).vectors
    answers = by_label(vk.classify(sources, LABELS, prompts=PROMPTS, model=model))
    cosines = (ours * files.numpy()).sum(1)
    others = (files @ files.T).fill_diagonal_(-1).max().item()
    return {
        "features": float(np.abs(ours - same.numpy()).max()),
        "texts": float(np.abs(embed_texts(LABELS, model=model).vectors - texts).max()),
        "probabilities": float(np.abs(answers - chances[0]).max()),
        "similarity": float(np.abs(similarity(sources, LABELS, model=model) - same.numpy() @ texts.T).max()),
        "least cosine from files": float(cosines.min()),
        "probabilities from files": float(np.abs(answers - chances[1]).max()),
        "nearest two photos": others,
        "spread of probabilities": float(np.ptp(chances[0], axis=0).max()),
    }


@pytest.mark.slow
def test_vit_b_32_equals_open_clip(vit_b_32, photos, tall, reference):
    found = measure(vit_b_32, [*photos, tall], reference)
    print(json.dumps(found, indent=1))
    exact = ("features", "texts", "probabilities", "similarity")
    assert {k: found[k] for k in exact if found[k] > 1e-5} == {}
    assert found["least cosine from files"] >= 0.9999
    assert found["probabilities from files"] <= 5e-3
    assert found["nearest two photos"] < 0.99, "the photographs must differ, or the comparison proves nothing"
    assert found["spread of probabilities"] > 0.05, "the answers must differ, or the comparison proves nothing"


@pytest.mark.slow
def test_the_default_tag_is_found_in_the_cache_and_loads_without_a_network(vit_b_32, cat, tmp_path, monkeypatch):
    repository = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    (snapshot / "open_clip_model.safetensors").symlink_to(vit_b_32 / "open_clip_model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    by_default = vk.classify(cat, LABELS, device="cpu", speed="exact")
    vk.clear_models()
    by_folder = vk.classify(cat, LABELS, model=f"open_clip:{vit_b_32}", device="cpu", speed="exact")
    vk.clear_models()
    assert by_default.model == "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert by_default.scores == by_folder.scores


def test_a_tiny_clip_equals_open_clip_by_its_own_preprocessing(tiny_folder, photos, tall, reference):
    found = measure(tiny_folder, [*photos, tall], reference)
    assert max(found[k] for k in ("features", "texts", "probabilities", "similarity")) <= 1e-5
    assert found["least cosine from files"] >= 0.9999


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_pictures_are_laid_in_as_open_clip_does(  # noqa: PLR0917 - fixtures
    mode, interpolation, tiny_config, tmp_path, photos, tall, reference, write_clip
):
    tiny_config["preprocess_cfg"] |= {"resize_mode": mode, "interpolation": interpolation}
    folder = write_clip(tmp_path / "clip", tiny_config, seed=0)
    _, transform, _ = reference(folder)
    model = vk.load_model(f"open_clip:{folder}", device="cpu", speed="exact")
    sources = [*photos, tall]
    batch = next(vk.Batches(sources, model.preprocess, device="cpu", speed="exact"))
    theirs = torch.stack([transform(Image.open(p).convert("RGB")) for p in sources])
    assert batch.pixels.shape == theirs.shape == (len(sources), 3, 64, 64)
    codes = (batch.pixels - theirs).abs() * torch.tensor(model.preprocess.std).view(1, 3, 1, 1) * 255
    assert codes.max() < 3.01, "PIL's and torch's antialiased resize differ by rounding alone"
    assert codes.mean() < 0.25
    print(mode, interpolation, float(codes.max()), float(codes.mean()))


def test_siglip_equals_open_clip(siglip_folder, photos, reference):
    network, _, tokenizer = reference(siglip_folder)
    model = vk.load_model(f"open_clip:{siglip_folder}", device="cpu", speed="exact")
    batch = next(vk.Batches(photos, model.preprocess, device="cpu", speed="exact"))
    with torch.inference_mode():
        images = network.encode_image(batch.pixels, normalize=True)
        weights = open_clip.build_zero_shot_classifier(network, tokenizer, LABELS, model.prompts)
        chances = (images @ weights * network.logit_scale.exp() + network.logit_bias).sigmoid()
        texts = network.encode_text(tokenizer(LABELS), normalize=True)
    assert (unit(model.text_features(LABELS)) - texts).abs().max() <= 1e-5
    assert (unit(model.image_features(batch)) - images).abs().max() <= 1e-5
    answers = vk.classify(photos, LABELS, model=model)
    np.testing.assert_allclose(by_label(answers), chances.numpy(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_both_formats_of_weights_give_the_same(name, tiny_folder, tiny, tmp_path, cat):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_bytes((tiny_folder / "open_clip_config.json").read_bytes())
    if name.endswith(".bin"):
        torch.save({k: v.clone() for k, v in tiny.module.state_dict().items()}, folder / name)
    else:
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    again = vk.load_model(f"open_clip:{folder}", device="cpu", speed="exact")
    np.testing.assert_array_equal(embed(cat, model=again).vectors, embed(cat, model=tiny).vectors)
    assert Path(again.name.removeprefix("open_clip:")) == folder
