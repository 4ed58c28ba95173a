"""Real pipelines of diffusers, small enough to be built on the spot: random weights, every part of the real kind."""

from __future__ import annotations

import json

import pytest
import torch

WORDS = ("a", "red", "cat", "on", "mat", "blurred", "blue", "dog")
WIDTH = 32


def build_tokenizer(folder):
    """A CLIP tokenizer of single letters and a few whole words, from files of the real layout."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = [*letters, *(f"{x}</w>" for x in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts = ["".join(parts[:2]), *parts[2:]]
            pieces.append(parts[0])
    pieces = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]) + "\n")
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def build_parts(folder, *, scheduler, time_cond_proj_dim=None):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    return {
        "unet": UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(WIDTH, 2 * WIDTH),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            norm_num_groups=8,
            time_cond_proj_dim=time_cond_proj_dim,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(WIDTH, WIDTH),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
            norm_num_groups=8,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ),
        "tokenizer": tokenizer,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
    }


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory):
    """A Stable Diffusion pipeline whose pictures are 32×32 by default."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    base = tmp_path_factory.mktemp("diffusion")
    state = torch.get_rng_state()
    parts = build_parts(
        base / "tokenizer", scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear")
    )
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.save_pretrained(base / "pipeline", safe_serialization=True)
    torch.set_rng_state(state)
    return base / "pipeline"


@pytest.fixture(scope="session")
def ddim_folder(diffusion_folder, tmp_path_factory):
    """The same pipeline with another scheduler."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("ddim") / "pipeline"
    pipeline = StableDiffusionPipeline.from_pretrained(diffusion_folder)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def consistency_folder(tmp_path_factory):
    """A latent consistency pipeline, which has no negative prompt."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    base = tmp_path_factory.mktemp("consistency")
    state = torch.get_rng_state()
    parts = build_parts(base / "tokenizer", scheduler=LCMScheduler(), time_cond_proj_dim=WIDTH)
    pipeline = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    pipeline.save_pretrained(base / "pipeline", safe_serialization=True)
    torch.set_rng_state(state)
    return base / "pipeline"
