"""`classify` with labels: texts encoded once, prompts averaged, scores of the right kind."""

import numpy as np
import open_clip
import pytest
import torch

import visionkit as vk
from visionkit.errors import InputError
from visionkit.tasks.similarity import similarity
from visionkit.tasks.zero_shot import label_vectors

LABELS = ["cat", "dog", "rocket", "cup of coffee"]
PROMPTS = ["a photo of a {}.", "a bad photo of the {}.", "{}"]


@pytest.fixture
def count_texts(tiny):
    """How many texts the real text tower has encoded."""
    seen = []
    tiny.module.ln_final.register_forward_hook(lambda _, __, output: seen.append(len(output)))
    return seen


def test_texts_are_encoded_once_for_any_number_of_pictures(tiny, photos, count_texts):
    answers = vk.classify([*photos, *photos], LABELS, prompts=PROMPTS, model=tiny, batch_size=2)
    assert len(answers) == 2 * len(photos)
    assert sum(count_texts) == len(LABELS) * len(PROMPTS)


def test_texts_are_encoded_at_the_call_and_pictures_at_the_first_next(tiny, photos, count_texts):
    taken = []
    answers = vk.classify((taken.append(p) or p for p in photos), LABELS, model=tiny, batch_size=1)
    assert (sum(count_texts), taken) == (len(LABELS), [])
    assert next(answers).source == str(photos[0])
    assert len(taken) <= 3
    assert sum(count_texts) == len(LABELS)


def test_many_texts_go_through_in_steps(tiny, cat, count_texts):
    answer = vk.classify(cat, [f"thing {i}" for i in range(130)], model=tiny)
    assert len(answer.scores) == 130
    assert sum(count_texts) == 130
    assert max(count_texts) <= 64


def test_prompts_are_averaged_as_open_clip_averages_them(tiny, tiny_folder, reference):
    network, _, tokenizer = reference(tiny_folder)
    theirs = open_clip.build_zero_shot_classifier(network, tokenizer, LABELS, PROMPTS).T
    torch.testing.assert_close(label_vectors(tiny, LABELS, PROMPTS), theirs, rtol=0, atol=1e-6)
    alone = label_vectors(tiny, LABELS, PROMPTS[:1])
    assert (alone - theirs).abs().max() > 1e-2, "an average of one must differ, or the comparison proves nothing"


def test_a_label_with_braces_stands_in_the_prompt_as_it_is(tiny, cat):
    answer = vk.classify(cat, ["{x}", "a {} b"], prompts=["see {} {{}}"], model=tiny)
    assert set(answer.scores) == {"{x}", "a {} b"}
    torch.testing.assert_close(
        label_vectors(tiny, ["{x}"], ["see {}"]), label_vectors(tiny, ["see {x}"], ["{}"]), rtol=0, atol=0
    )


def test_a_choice_is_a_softmax(tiny, photos):
    for answer in vk.classify(photos, LABELS, model=tiny):
        assert answer.score_kind == "probability"
        assert sum(answer.scores.values()) == pytest.approx(1.0, abs=1e-5)
        assert list(answer.scores.values()) == sorted(answer.scores.values(), reverse=True)
        assert answer.label == next(iter(answer.scores))


def test_several_labels_of_a_model_that_chooses_are_cosines(tiny, photos):
    texts = [tiny.prompts[0].format(label) for label in LABELS]
    expected = similarity(photos, texts, model=tiny)
    for answer, row in zip(vk.classify(photos, LABELS, model=tiny, multi_label=True), expected, strict=True):
        assert answer.score_kind == "similarity"
        np.testing.assert_allclose([answer.scores[label] for label in LABELS], row, atol=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_sigmoid_model_says_how_probable_each_label_is_by_itself(siglip, photos, multi_label):
    answers = vk.classify(photos, LABELS, model=siglip, multi_label=multi_label)
    cosines = similarity(photos, [siglip.prompts[0].format(label) for label in LABELS], model=siglip)
    expected = 1 / (1 + np.exp(-(cosines.astype(np.float64) * siglip.logit_scale + siglip.logit_bias)))
    for answer, row in zip(answers, expected, strict=True):
        assert answer.score_kind == "probability"
        np.testing.assert_allclose([answer.scores[label] for label in LABELS], row, rtol=1e-4)


def test_abstaining_leaves_the_scores(tiny, cat):
    sure = vk.classify(cat, LABELS, model=tiny)
    unsure = vk.classify(cat, LABELS, model=tiny, abstain_below=sure.score + 1e-6)
    assert unsure.label is None
    assert unsure.scores == sure.scores
    assert vk.classify(cat, LABELS, model=tiny, abstain_below=sure.score).label == sure.label


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("a photo of a {}.", r"prompts must be a list of templates, not the one string 'a photo of a \{\}\.'"),
        ([], r"prompts must hold at least one template, such as 'a photo of a \{\}\.'"),
        (["a photo"], r"prompt 'a photo' has no \{\} for the label"),
        (["{}", "a {0}"], r"prompt 'a \{0\}' has no \{\} for the label"),
        ([None], r"prompt None has no \{\} for the label"),
    ],
)
def test_a_wrong_prompt_is_refused_before_anything_is_encoded(prompts, message, tiny, cat, count_texts):
    with pytest.raises(InputError, match=message):
        vk.classify(cat, LABELS, prompts=prompts, model=tiny)
    assert count_texts == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"has no classes of its own: give labels"),
        ([], r"labels must name at least one class"),
        (["cat", "cat"], r"label 'cat' is given twice"),
        (["cat", " "], r"label ' ' is no name"),
        ("cat", r"labels must be a list of names, not the one string 'cat'"),
        (["cat", "\ud800"], r"label '.ud800' is no text: it has bytes that are not UTF-8"),
    ],
)
def test_wrong_labels_are_refused(labels, message, tiny, cat):
    with pytest.raises(InputError, match=message):
        vk.classify(cat, labels, model=tiny)


def test_prompts_do_not_go_with_a_fixed_head(cat):
    with pytest.raises(InputError, match=r"prompts= goes with an image–text model"):
        vk.classify(cat, prompts=["{}"])


def test_a_bad_picture_among_good_ones(tiny, photos):
    found = vk.classify([photos[0], "missing.jpg", photos[1]], LABELS, model=tiny, on_error="return")
    assert [type(f).__name__ for f in found] == ["Classification", "Failure", "Classification"]
    assert (found[1].index, found[1].source) == (1, "missing.jpg")
