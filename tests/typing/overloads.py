"""What type checkers must see: one in, one out; many in, a list out; an iterator in, an iterator out."""

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt

import visionkit as vk
from visionkit.results import Answer, Classification, Detections, Embeddings, GeneratedImages, Heatmap


def paths() -> Iterator[Path]:
    yield Path("a.jpg")


def check(array: npt.NDArray[np.uint8], one: str, path: Path, names: list[str], many: list[Path]) -> None:
    assert_type(vk.classify(one), Classification)
    assert_type(vk.classify(path), Classification)
    assert_type(vk.classify(b"..."), Classification)
    assert_type(vk.classify(array), Classification)
    assert_type(vk.classify(names), list[Classification])
    assert_type(vk.classify(many), list[Classification])
    assert_type(vk.classify((one, one)), list[Classification])
    assert_type(vk.classify(paths()), Iterator[Classification])
    assert_type(vk.classify(one, on_error="return"), Classification | vk.Failure)
    assert_type(vk.classify(names, ["cat"], on_error="return"), list[Classification | vk.Failure])
    assert_type(vk.classify(paths(), on_error="return"), Iterator[Classification | vk.Failure])

    assert_type(vk.embed(one), Embeddings)
    assert_type(vk.embed(names), Embeddings)
    assert_type(vk.embed(many, on_error="return"), Embeddings)
    assert_type(vk.embed(paths()), Iterator[Embeddings])
    assert_type(vk.embed(paths(), on_error="return"), Iterator[Embeddings | vk.Failure])

    assert_type(vk.detect(one), Detections)
    assert_type(vk.detect(many), list[Detections])
    assert_type(vk.detect(paths()), Iterator[Detections])
    assert_type(vk.detect(many, on_error="return"), list[Detections | vk.Failure])

    assert_type(vk.explain(one), Heatmap)
    assert_type(vk.explain(many, label="cat"), list[Heatmap])
    assert_type(vk.explain(paths()), Iterator[Heatmap])
    assert_type(vk.explain(many, on_error="return"), list[Heatmap | vk.Failure])

    assert_type(vk.ask(one, "?", model="m"), Answer)
    assert_type(vk.ask(many, "?", model="m"), list[Answer])
    assert_type(vk.ask(paths(), "?", model="m"), Iterator[Answer])
    assert_type(vk.ask(many, "?", model="m", on_error="return"), list[Answer | vk.Failure])

    assert_type(vk.generate("a cat", model="m"), GeneratedImages)
    assert_type(vk.generate(["a cat", "a dog"], model="m"), list[GeneratedImages])
    assert_type(vk.generate(iter(["a cat"]), model="m"), Iterator[GeneratedImages])

    assert_type(vk.embed_texts(one), Embeddings)
    assert_type(vk.embed_texts(names), Embeddings)
    assert_type(vk.embed_texts(iter(names)), Iterator[Embeddings])
    assert_type(vk.embed_texts(iter(names), on_error="return"), Iterator[Embeddings | vk.Failure])

    assert_type(vk.similarity(one, names), npt.NDArray[np.float32])
    assert_type(vk.similarity(many, one), npt.NDArray[np.float32])
    assert_type(vk.similarity(paths(), names), Iterator[npt.NDArray[np.float32]])

    with path.open("rb") as file:
        assert_type(vk.classify(file), Classification)
        assert_type(vk.ask(file, "?", model="m"), Answer)
