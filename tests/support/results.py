"""One result of each kind, with the texts and the source that a test gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

import visionkit as vk
from visionkit.results import (
    Answer,
    Classification,
    Detections,
    Embeddings,
    GeneratedImage,
    GeneratedImages,
    Grid,
    Heatmap,
    Patch,
    Patches,
    Recipe,
)
from visionkit.training import EpochRecord, TrainingRun

HOSTILE = (
    '<script>document.title="ran"</script><img src="http://127.0.0.1:9/x.png" onerror="document.title=\'ran\'">'
    "' \" & </div> \x00\x1b[31m\u202e\udcff $x$ ｆｕｌｌ 猫"
)


class Animal(BaseModel):
    name: str
    legs: int


def every_result(source: str, text: str | None = None) -> dict[str, Any]:
    """Name of the kind → a result of it about `source`, with `text`, or the source, as its label and its words."""
    word = source if text is None else text
    common: dict[str, Any] = {"model": word, "source": source}
    recipe = Recipe(model=word, prompt=word, size_wh=(8, 6), seed=3, steps=2, versions={"x": "1"}, more={word: [word]})
    pictures = [
        GeneratedImage(image=vk.load_image(np.full((6, 8, 3), 40 * i, np.uint8)), recipe=recipe) for i in (1, 2)
    ]
    failure = vk.Failure(source, 1, vk.VisionkitError(f"cannot load {word}"))
    record = {"loss": 0.5, "validation_loss": 0.25, "accuracy": 0.75, "seconds": 1.5, "images_per_second": 8.0}
    return {
        "classification": Classification.from_scores({word: 0.5, "dog": 0.3, "cow": 0.2}, **common),
        "abstained": Classification.from_scores({word: 0.5, "dog": 0.3}, abstain_below=0.9, **common),
        "said": Classification.from_scores(
            {word: 1.0, "b": 0.0}, score_kind="said", usage={"input_tokens": 5}, **common
        ),
        "detections": Detections(
            boxes_xyxy=[[0, 0, 9, 9], [1, 2, 3, 4]], labels=(word, "b"), scores=[0.5, 0.25], size_wh=(60, 40), **common
        ),
        "no detections": Detections(boxes_xyxy=[], labels=(), scores=[], size_wh=(60, 40), **common),
        "heatmap": Heatmap(
            heat=[[0, 0.5], [0.25, 1]],
            fit=vk.Preprocess(size_wh=(16, 16)).fit((60, 40)),
            label=word,
            score=0.5,
            method="grad_cam",
            layer=word,
            faithfulness=0.25,
            **common,
        ),
        "grid": Grid(image=Image.new("RGB", (8, 6)), rows=(word, "b"), columns=("c",), **common),
        "patches": Patches(
            image=Image.new("RGB", (8, 6)),
            rows=(word,),
            patches=[Patch(source=source, box_xyxy=(0, 1, 2, 3), activation=0.5)],
            layer=word,
            channel=1,
            **common,
        ),
        "embeddings": Embeddings(
            vectors=np.eye(2, 3, dtype=np.float32), sources=(source, "gone.png"), failures=(failure,), **common
        ),
        "answer": Answer(text=word, usage={"input_tokens": 7}, finish_reason="stop", **common),
        "answer with parsed": Answer(
            text='{"name": "a", "legs": 4}', parsed=Animal(name=word, legs=4), usage={}, finish_reason="stop", **common
        ),
        "generated": GeneratedImages(images=pictures, model=word, source=word),
        "training": TrainingRun(
            history=[EpochRecord(epoch=i, **record) for i in (1, 2)],
            metrics={"accuracy": 0.75, "validation_images": 4.0},
            labels=(word, "b"),
            confusion=((2, 1), (0, 1)),
            failures=(failure,),
        ),
        "failure": failure,
    }
