"""`embed`, `embed_texts`, `similarity`: one in, one out; several in, one matrix; an iterator in, an iterator out."""

import logging
from itertools import count

import numpy as np
import pytest
import torch

import visionkit as vk
from visionkit.errors import CapabilityError, InputError, ModelError, SourceError
from visionkit.tasks.embed import embed
from visionkit.tasks.embed_texts import embed_texts
from visionkit.tasks.similarity import similarity

TEXTS = ["a cat", "a rocket", "a cup of coffee"]


def length(vectors):
    return np.linalg.norm(vectors, axis=1)


def test_embed_of_one_picture_is_one_row(tiny, cat):
    found = embed(cat, model=tiny)
    assert found.vectors.shape == (1, 32)
    assert found.vectors.dtype == np.float32
    assert (found.sources, found.source, found.model) == ((str(cat),), str(cat), tiny.name)
    np.testing.assert_allclose(length(found.vectors), 1.0, atol=1e-6)


@pytest.mark.parametrize("make", [list, tuple, lambda p: np.array(p, dtype=object)], ids=["list", "tuple", "array"])
def test_embed_of_several_pictures_is_one_matrix_in_order(make, tiny, photos):
    found = embed(make(photos), model=tiny, batch_size=3)
    assert found.sources == tuple(map(str, photos))
    assert (found.source, found.failures, len(found)) == (f"{len(photos)} images", (), len(photos))
    rows = np.concatenate([embed(p, model=tiny).vectors for p in photos])
    np.testing.assert_allclose(found.vectors, rows, atol=1e-6)
    cosines = rows @ rows.T
    assert cosines[~np.eye(len(rows), dtype=bool)].max() < 0.9999, "rows must differ, or their order proves nothing"


def test_embed_by_default_is_the_embedded_network(cat):
    found = embed([cat, cat], device="cpu")
    assert found.model == "visionkit:efficientnet_lite0"
    assert found.vectors.shape == (2, 1280)
    np.testing.assert_array_equal(found.vectors[0], found.vectors[1])


def test_embed_of_an_iterator_is_lazy(tiny, cat):
    taken = []
    rows = embed((taken.append(i) or cat for i in count()), model=tiny, batch_size=2)
    assert taken == []
    assert next(rows).vectors.shape == (1, 32)
    assert len(taken) <= 6, "a batch and at most two ahead"
    rows.close()


def test_embed_of_nothing_has_the_width_of_the_model(tiny):
    found = embed([], model=tiny)
    assert found.vectors.shape == (0, 32)
    assert (found.sources, found.source) == ((), "0 images")
    assert list(embed(iter([]), model=tiny)) == []
    assert np.concatenate([found.vectors, np.ones((1, 32), np.float32)]).shape == (1, 32)


def test_embed_keeps_what_failed_apart(tiny, photos):
    sources = [photos[0], "missing.jpg", photos[1], b"no picture"]
    found = embed(sources, model=tiny, on_error="return")
    assert found.sources == (str(photos[0]), str(photos[1]))
    assert [(f.index, f.source) for f in found.failures] == [(1, "missing.jpg"), (3, "<10 bytes>")]
    assert found.source == "4 images"
    np.testing.assert_allclose(found.vectors[1], embed(photos[1], model=tiny).vectors[0], atol=1e-6)
    only_bad = embed(["missing.jpg"], model=tiny, on_error="return")
    assert only_bad.vectors.shape == (0, 32)
    assert len(only_bad.failures) == 1


def test_embed_puts_a_failure_in_the_place_of_one_source_or_of_an_iterators(tiny, cat):
    assert embed("missing.jpg", model=tiny, on_error="return") == vk.Failure("missing.jpg", 0, SourceError(""))
    found = list(embed(iter([cat, "missing.jpg", cat]), model=tiny, on_error="return"))
    assert [type(f).__name__ for f in found] == ["Embeddings", "Failure", "Embeddings"]


def test_embed_stops_with_the_rows_before_the_bad_one(tiny, photos):
    with pytest.raises(SourceError, match=r"missing\.jpg: no such file") as caught:
        embed([photos[0], photos[1], "missing.jpg", photos[2]], model=tiny)
    assert [r.source for r in caught.value.results] == [str(photos[0]), str(photos[1])]


def test_features_without_a_direction_are_an_error_and_not_a_zero_row(cat):
    class Blind(torch.nn.Module):
        def forward(self, pixels):
            return pixels.new_zeros(len(pixels), 4)

    model = vk.wrap_model(Blind(), preprocess=vk.Preprocess(size_wh=(8, 8)), device="cpu")
    with pytest.raises(ModelError, match=r"Blind gives .*cat\.jpg no direction: its features are all zero"):
        embed(cat, model=model)
    assert len(embed([cat, cat], model=model, on_error="return").failures) == 2


def test_texts_without_a_direction_are_an_error_and_not_a_zero_row(tiny):
    tiny.module.text_projection.data.zero_()
    with pytest.raises(ModelError, match=r"gives a cat no direction: its features are all zero, or not finite"):
        embed_texts("a cat", model=tiny)


def test_embed_texts_of_one_and_of_several(tiny):
    one = embed_texts(TEXTS[0], model=tiny)
    assert (one.vectors.shape, one.sources, one.source) == ((1, 32), ("a cat",), "a cat")
    several = embed_texts(TEXTS, model=tiny, batch_size=2)
    assert (several.sources, several.source, several.model) == (tuple(TEXTS), "3 texts", tiny.name)
    np.testing.assert_allclose(several.vectors[0], one.vectors[0], atol=1e-6)
    np.testing.assert_allclose(length(several.vectors), 1.0, atol=1e-6)
    assert np.abs(several.vectors[0] - several.vectors[1]).max() > 1e-2
    np.testing.assert_array_equal(embed_texts(tuple(TEXTS), model=tiny).vectors, embed_texts(TEXTS, model=tiny).vectors)


def test_embed_texts_of_an_iterator_is_lazy(tiny):
    taken = []
    rows = embed_texts((taken.append(i) or f"thing {i}" for i in count()), model=tiny, batch_size=4)
    assert taken == []
    assert next(rows).sources == ("thing 0",)
    assert len(taken) <= 4
    assert [next(rows).source for _ in range(5)] == [f"thing {i}" for i in range(1, 6)]


def test_embed_texts_of_nothing(tiny):
    assert embed_texts([], model=tiny).vectors.shape == (0, 32)
    assert list(embed_texts(iter([]), model=tiny)) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("", r"text 2 is empty: ''"),
        (" \n", r"text 2 is empty: ' \\n'"),
        (None, r"text 2 must be a string, not <NoneType>"),
        (b"cat", r"text 2 must be a string, not <3 bytes>"),
        ("\ud800", r"text 2 .* is no text: it has half of a surrogate pair"),
    ],
)
def test_a_text_that_is_none_is_named_by_its_position(bad, message, tiny):
    with pytest.raises(InputError, match=message) as caught:
        embed_texts([*TEXTS[:2], bad, "more"], model=tiny)
    assert [r.source for r in caught.value.results] == TEXTS[:2]
    rows = embed_texts(iter([*TEXTS[:2], bad]), model=tiny)
    assert [next(rows).source, next(rows).source] == TEXTS[:2]
    with pytest.raises(InputError, match=message):
        next(rows)
    with pytest.raises(InputError, match=message):
        similarity([], [*TEXTS[:2], bad], model=tiny)


def test_what_is_no_container_of_texts_is_refused(tiny):
    with pytest.raises(InputError, match=r"<set> is no input: .*list\(x\)"):
        embed_texts({"a", "b"}, model=tiny)
    with pytest.raises(InputError, match=r"<int> is no input"):
        embed_texts(3, model=tiny)
    with pytest.raises(InputError, match=r"batch_size=0 must be a whole number of at least 1"):
        embed_texts("a", model=tiny, batch_size=0)
    with pytest.raises(InputError, match=r"batch_size=0 must be a whole number of at least 1"):
        embed([], model=tiny, batch_size=0)


def test_similarity_is_the_cosine_of_the_rows(tiny, photos):
    found = similarity(photos, TEXTS, model=tiny, batch_size=3)
    assert found.shape == (len(photos), 3)
    assert found.dtype == np.float32
    expected = embed(photos, model=tiny).vectors @ embed_texts(TEXTS, model=tiny).vectors.T
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(found) > 0.05


def test_similarity_of_one(tiny, cat, photos):
    assert similarity(cat, "a cat", model=tiny).shape == (1, 1)
    assert similarity(photos, "a cat", model=tiny).shape == (len(photos), 1)
    assert similarity(cat, TEXTS, model=tiny).shape == (1, 3)
    assert similarity([], TEXTS, model=tiny).shape == (0, 3)


def test_similarity_of_an_iterator_is_lazy_and_encodes_texts_once(tiny, cat):
    taken, texts = [], []
    tiny.module.ln_final.register_forward_hook(lambda _, __, output: texts.append(len(output)))
    rows = similarity((taken.append(i) or cat for i in count()), TEXTS, model=tiny, batch_size=2)
    assert (taken, texts) == ([], [3])
    assert next(rows).shape == (3,)
    assert len(taken) <= 6
    next(rows)
    assert texts == [3]
    rows.close()


def test_similarity_gives_a_bad_picture_a_row_of_nan_and_says_why(tiny, cat, caplog):
    with caplog.at_level(logging.WARNING, "visionkit"):
        found = similarity([cat, "missing.jpg", cat], TEXTS, model=tiny, on_error="return")
    assert np.isnan(found).all(1).tolist() == [False, True, False]
    assert np.isnan(found).any(1).tolist() == [False, True, False]
    assert "missing.jpg: no such file" in caplog.text
    assert np.isnan(similarity("missing.jpg", TEXTS, model=tiny, on_error="return")).tolist() == [[True] * 3]
    with pytest.raises(SourceError, match=r"missing\.jpg: no such file") as caught:
        similarity([cat, "missing.jpg"], TEXTS, model=tiny)
    np.testing.assert_allclose(caught.value.results[0], found[0], atol=1e-6)


def test_similarity_needs_texts(tiny, cat):
    with pytest.raises(InputError, match=r"similarity needs at least one text to compare with"):
        similarity(cat, [], model=tiny)
    with pytest.raises(InputError, match=r"<list_iterator> is no input: .*list\(x\)"):
        similarity(cat, iter(TEXTS), model=tiny)


class Nothing:
    name = "mine:nothing"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda cat: embed(cat, model=Nothing()),
            r"embed needs features of pictures, which mine:nothing does not give",
        ),
        (
            lambda _: embed_texts("a", model=Nothing()),
            r"embed_texts needs features of texts, .*; mine:nothing does not",
        ),
        (
            lambda cat: similarity(cat, "a", model=Nothing()),
            r"similarity needs a model of images and texts, such as 'open_clip:.*: .*features of pictures, which",
        ),
        (
            lambda _: embed_texts("a", model="visionkit:efficientnet_lite0"),
            r"'visionkit:efficientnet_lite0' cannot embed_texts: visionkit: models do classify, embed",
        ),
        (
            lambda cat: similarity(cat, "a", model="visionkit:efficientnet_lite0"),
            r"similarity needs a model of images and texts.*'visionkit:efficientnet_lite0' cannot embed_texts",
        ),
    ],
)
def test_a_model_that_cannot_says_so(call, message, cat):
    with pytest.raises(CapabilityError, match=message):
        call(cat)


def test_device_goes_with_a_name_only(tiny, cat):
    for call in (
        lambda: embed(cat, model=tiny, device="cpu"),
        lambda: embed_texts("a", model=tiny, speed="exact"),
        lambda: similarity(cat, "a", model=tiny, device="cpu"),
    ):
        with pytest.raises(InputError, match=r"device= and speed= go with a model's name"):
            call()
