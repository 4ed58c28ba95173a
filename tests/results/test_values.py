from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

import visionkit as vk
from visionkit.results import Classification, Embeddings, Prediction

COMMON = {"model": "m", "source": "cat.jpg"}


@pytest.fixture
def classification():
    return Classification.from_scores({"dog": 0.2, "cat": 0.7, "cow": 0.1}, **COMMON)


def test_classification_ranks(classification):
    assert classification.label == "cat"
    assert classification.score == 0.7
    assert list(classification.scores) == ["cat", "dog", "cow"]
    assert classification.top(2) == (Prediction("cat", 0.7), Prediction("dog", 0.2))
    assert len(classification.top(9)) == 3
    assert classification.top(0) == ()
    assert repr(classification) == "Classification(cat.jpg: cat 0.70 · dog 0.20 · cow 0.10; probability, m)"
    assert str(classification) == repr(classification)


def test_classification_may_abstain():
    result = Classification.from_scores({"cat": 0.4, "dog": 0.35}, abstain_below=0.5, **COMMON)
    assert result.label is None
    assert result.score == 0.4
    assert "abstained: cat 0.40" in repr(result)


def test_classification_round_trip(classification):
    read = Classification.model_validate_json(classification.model_dump_json())
    assert read == classification
    assert list(read.scores) == list(classification.scores)
    assert read != classification.model_copy(update={"model": "other"})
    assert read != "cat"


def test_results_are_frozen(classification):
    with pytest.raises(ValidationError, match="frozen"):
        classification.label = "dog"
    with pytest.raises(ValidationError, match="extra"):
        Classification(label="a", score=1, score_kind="probability", scores={}, typo=1, **COMMON)


def test_embeddings():
    own = np.eye(2, 3, dtype=np.float32)
    result = Embeddings(vectors=own, sources=("a", "b"), **COMMON)
    assert repr(result) == "Embeddings(2×3 float32 of cat.jpg; m)"
    assert len(result) == 2
    own[0] = 0  # the caller's array is still theirs
    assert result.vectors[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        result.vectors[0, 0] = 2
    read = Embeddings.model_validate_json(result.model_dump_json())
    assert read == result
    assert read != Embeddings(vectors=np.eye(2, 3)[::-1], sources=("a", "b"), **COMMON)


def test_embeddings_check_themselves():
    with pytest.raises(ValidationError, match=r"vectors must be \(1, D\), not \(2, 3\)"):
        Embeddings(vectors=np.eye(2, 3), sources=("a",), **COMMON)
    with pytest.raises(ValidationError, match="each vector must have length 1"):
        Embeddings(vectors=2 * np.eye(2, 3), sources=("a", "b"), **COMMON)


def test_failures_survive_json():
    failure = vk.Failure("x.jpg", 3, vk.VisionkitError("broken"))
    result = Embeddings(vectors=np.empty((0, 3)), sources=(), failures=(failure,), **COMMON)
    read = Embeddings.model_validate_json(result.model_dump_json()).failures[0]
    assert (read.source, read.index) == ("x.jpg", 3)
    assert str(read.error) == "VisionkitError: broken"
    for other in ("x", {}, {"source": "x.jpg"}):
        with pytest.raises(ValidationError, match="a failure is a Failure"):
            Embeddings(vectors=np.empty((0, 3)), sources=(), failures=(other,), **COMMON)
