"""Writes a tiny random vision-language model for llama.cpp: `make_tiny_gguf.py FOLDER` (0.7 MB, under a second).

`tiny.gguf` is a two-layer Llama with a tokenizer made on the spot, `mmproj.gguf` a three-layer LLaVA-style eye for it.
What it says is noise, but the server is the real one: it decodes the picture and enforces a schema's grammar.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["a photo of a cat and a dog on the table", "what is in this image? yes no A B C D"] * 4
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
EYE_WIDTH, EYE_HEADS, EYE_LAYERS, EYE_HIDDEN, SIDE, PATCH = 32, 2, 3, 64, 56, 14

rng = np.random.default_rng(0)


def noise(*shape):
    return (rng.standard_normal(shape) * 0.05).astype(np.float32)


def ones(n):
    return np.ones(n, np.float32)


def zeros(n):
    return np.zeros(n, np.float32)


def vocabulary():
    """Tokens in the order of their numbers, and merges, of a small byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    return tokens, [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]


def write_language_model(path):
    tokens, merges = vocabulary()
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("tiny-random")
    w.add_context_length(4096)
    w.add_embedding_length(WIDTH)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(HIDDEN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_vocab_size(len(tokens))
    w.add_file_type(0)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_merges(merges)
    w.add_token_types([3 if token in SPECIAL else 1 for token in tokens])  # 3: control
    w.add_eos_token_id(2)
    w.add_bos_token_id(0)
    w.add_pad_token_id(0)
    w.add_add_bos_token(value=False)
    w.add_chat_template(TEMPLATE)
    w.add_tensor("token_embd.weight", noise(len(tokens), WIDTH))
    w.add_tensor("output.weight", noise(len(tokens), WIDTH))
    w.add_tensor("output_norm.weight", ones(WIDTH))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            w.add_tensor(f"{block}{name}.weight", noise(WIDTH, WIDTH))
        w.add_tensor(f"{block}ffn_gate.weight", noise(HIDDEN, WIDTH))
        w.add_tensor(f"{block}ffn_up.weight", noise(HIDDEN, WIDTH))
        w.add_tensor(f"{block}ffn_down.weight", noise(WIDTH, HIDDEN))
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"{block}{name}.weight", ones(WIDTH))
    finish(w)


def write_eye(path):
    w = gguf.GGUFWriter(path, "clip")
    w.add_bool("clip.has_vision_encoder", val=True)
    w.add_string("clip.projector_type", "mlp")
    w.add_bool("clip.use_gelu", val=False)
    w.add_file_type(0)
    w.add_uint32("clip.vision.image_size", SIDE)
    w.add_uint32("clip.vision.patch_size", PATCH)
    w.add_uint32("clip.vision.embedding_length", EYE_WIDTH)
    w.add_uint32("clip.vision.feed_forward_length", EYE_HIDDEN)
    w.add_uint32("clip.vision.block_count", EYE_LAYERS)
    w.add_uint32("clip.vision.projection_dim", WIDTH)
    w.add_uint32("clip.vision.attention.head_count", EYE_HEADS)
    w.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    w.add_array("clip.vision.image_mean", [0.48, 0.46, 0.41])
    w.add_array("clip.vision.image_std", [0.27, 0.26, 0.28])
    w.add_tensor("v.patch_embd.weight", noise(EYE_WIDTH, 3, PATCH, PATCH))
    w.add_tensor("v.class_embd", noise(EYE_WIDTH))
    w.add_tensor("v.position_embd.weight", noise((SIDE // PATCH) ** 2 + 1, EYE_WIDTH))
    w.add_tensor("v.pre_ln.weight", ones(EYE_WIDTH))
    w.add_tensor("v.pre_ln.bias", zeros(EYE_WIDTH))
    for layer in range(EYE_LAYERS):
        block = f"v.blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            w.add_tensor(f"{block}{name}.weight", noise(EYE_WIDTH, EYE_WIDTH))
            w.add_tensor(f"{block}{name}.bias", zeros(EYE_WIDTH))
        w.add_tensor(f"{block}ffn_up.weight", noise(EYE_HIDDEN, EYE_WIDTH))
        w.add_tensor(f"{block}ffn_up.bias", zeros(EYE_HIDDEN))
        w.add_tensor(f"{block}ffn_down.weight", noise(EYE_WIDTH, EYE_HIDDEN))
        w.add_tensor(f"{block}ffn_down.bias", zeros(EYE_WIDTH))
        for name in ("ln1", "ln2"):
            w.add_tensor(f"{block}{name}.weight", ones(EYE_WIDTH))
            w.add_tensor(f"{block}{name}.bias", zeros(EYE_WIDTH))
    w.add_tensor("mm.0.weight", noise(WIDTH, EYE_WIDTH))
    w.add_tensor("mm.0.bias", zeros(WIDTH))
    w.add_tensor("mm.2.weight", noise(WIDTH, WIDTH))
    w.add_tensor("mm.2.bias", zeros(WIDTH))
    finish(w)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_language_model(folder / "tiny.gguf")
    write_eye(folder / "mmproj.gguf")
