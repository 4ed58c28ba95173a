"""Real networks of open_clip with random weights, in folders of the hub's layout."""

import json
from copy import deepcopy

import pytest

import visionkit as vk

TINY = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"},
}
SIGLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "avg"},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 64,
            "hf_tokenizer_name": "nobody/has-this-repository",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 32,
            "heads": 2,
            "layers": 2,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    },
    "preprocess_cfg": {"mean": 0.5, "std": 0.5, "interpolation": "bilinear", "resize_mode": "squash"},
}


def write_folder(folder, config, *, seed, scale=4.6052):
    """A folder of the hub's layout, its network built by open_clip's classes; exp(4.6052) is CLIP's scale of 100."""
    import open_clip  # here and below: every test process reads this file, few need these packages
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    settings = deepcopy(config["model_cfg"])
    kind = open_clip.CustomTextCLIP if settings.pop("custom_text", False) else open_clip.CLIP
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind(**settings)
    network.logit_scale.data.fill_(scale)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", "</s>", "a", "photo", "of", "cat", "dog", "rocket", "coffee", "cup"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", eos_token="</s>"
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def write_clip():
    return write_folder


@pytest.fixture
def tiny_config():
    return deepcopy(TINY)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("clip") / "tiny", TINY, seed=0)


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("clip") / "tiny-siglip", SIGLIP, seed=1, scale=2.3026)
    write_tokenizer(folder)
    return folder


@pytest.fixture
def tiny(tiny_folder):
    return vk.load_model(f"open_clip:{tiny_folder}", device="cpu", speed="exact")


@pytest.fixture
def siglip(siglip_folder):
    return vk.load_model(f"open_clip:{siglip_folder}", device="cpu", speed="exact")


@pytest.fixture(scope="session")
def reference():
    """open_clip's own way from a folder to (network, transform, tokenizer)."""

    import open_clip

    def load(folder):
        name = f"local-dir:{folder}"
        network, _, transform = open_clip.create_model_and_transforms(name)
        return network.eval(), transform, open_clip.get_tokenizer(name)

    return load
