"""Models whose answers are known beforehand, compared on pictures of one colour."""

from __future__ import annotations

import html
import io
import json
import logging

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from torch import nn

import visionkit as vk
from visionkit.errors import CapabilityError, InputError, TrainingError
from visionkit.evaluation.compare import evaluate
from visionkit.results.scoreboard import ModelScore, Scoreboard
from visionkit.testing import FakeClassifier, FakeDescriber

PLAIN = vk.Preprocess(size_wh=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
COLORS = ("blue", "green", "red")


class Channels(nn.Module):
    """The channel's mean is the colour's logit, after a matrix (K, 3)."""

    def __init__(self, matrix):
        super().__init__()
        self.head = nn.Linear(3, len(matrix), bias=False)
        self.head.weight.data = torch.tensor(matrix, dtype=torch.float32)

    def forward(self, pixels):
        return self.head(pixels.mean((2, 3)))


def model(name, labels=COLORS, order=(2, 1, 0), scale=5.0):
    matrix = np.zeros((len(labels), 3))
    matrix[range(len(order)), order] = scale
    return vk.wrap_model(Channels(matrix), preprocess=PLAIN, labels=list(labels), name=name, device="cpu")


def pictures(count=12, spread=110):
    """Pictures of one colour each, with light of the others too: some look more like another colour."""
    random = np.random.default_rng(0)
    pairs = []
    for i in range(count):
        channel = i % 3
        color = random.integers(0, spread, 3)
        color[channel] = 100
        pairs.append((np.full((8, 8, 3), color, np.uint8), ("red", "green", "blue")[channel]))
    return pairs


def said(pairs):
    """What `model` answers: probabilities (N, 3) in the order of COLORS."""
    means = np.array([picture[0, 0, ::-1] / 255 for picture, _ in pairs])
    e = np.exp(5 * means)
    return np.array([COLORS.index(label) for _, label in pairs]), e / e.sum(1, keepdims=True)


def test_figures_of_one_model():
    pairs = pictures(60)
    board = evaluate(model("one"), pairs)
    true, probabilities = said(pairs)
    [row] = board.rows
    assert 0.8 < row.figures["accuracy"].value < 1
    assert {name: found.value for name, found in row.figures.items()} == pytest.approx(
        {
            "accuracy": sk.accuracy_score(true, probabilities.argmax(1)),
            "macro_f1": sk.f1_score(true, probabilities.argmax(1), average="macro"),
            "auroc": sk.roc_auc_score(true, probabilities, multi_class="ovr"),
            "ece": row.figures["ece"].value,
        },
        abs=1e-6,
    )
    assert all(found.low < found.value < found.high for found in row.figures.values())
    matrix = sk.confusion_matrix(true, probabilities.argmax(1))
    assert [line[:-1] for line in row.confusion] == [tuple(line) for line in matrix]
    assert [line[-1] for line in row.confusion] == [0, 0, 0]
    assert board.labels == COLORS
    assert board.images == 60
    assert row.images_per_second > 0
    assert 0 < row.latency_p50_ms <= row.latency_p95_ms
    assert board.differences == ()
    assert board["one"] is row


def test_several_models_and_their_differences():
    pairs = pictures(90, spread=70)
    good, same, bad = model("good"), model("good"), model("bad", order=(2, 0, 1))
    board = evaluate([good, same, bad], pairs)
    assert [row.model for row in board.rows] == ["good", "good (2)", "bad"]
    assert board["good"].figures["accuracy"].value == 1.0
    assert board["good"].figures["accuracy"].low == pytest.approx(0.025 ** (1 / 90))
    accuracy = board["bad"].figures["accuracy"].value
    assert accuracy == pytest.approx(1 / 3)
    chance, first, second = board.differences
    assert (chance.one, chance.other, chance.p_value, chance.real) == ("good", "good (2)", 1.0, False)
    assert chance.accuracy.value == chance.accuracy.low == chance.accuracy.high == 0.0
    expected = 3 * stats.binomtest(60, 60).pvalue  # Holm: the least of three
    assert (first.p_value, second.p_value) == pytest.approx((expected, expected))
    assert first.real
    assert first.accuracy.value == pytest.approx(2 / 3)
    assert first.accuracy.low == pytest.approx(2 / 3 - 1.96 * np.sqrt(2 / 9 / 90), abs=0.02)
    text = str(board)
    assert "Scoreboard(90 pictures, 3 classes; figures with 95% intervals)" in text
    assert "good − good (2): +0.0 points (+0.0 to +0.0), p = 1: may be chance" in text
    assert "good − bad: +66.7 points" in text


def test_it_is_a_value():
    board = evaluate([model("a"), model("b", order=(2, 0, 1))], [*pictures(), (b"broken", "red")])
    assert Scoreboard.model_validate_json(board.model_dump_json()) == board
    table = vk.to_pandas(board)
    assert list(table["model"]) == ["a", "b"]
    assert table["accuracy"][0] == board["a"].figures["accuracy"].value
    assert table["auroc_high"][1] == board["b"].figures["auroc"].high
    assert table["top5_accuracy"].isna().all()
    page = board._repr_html_()
    assert "12 pictures, 3 classes" in page
    assert "may be chance" in page or "real" in page
    with pytest.raises(KeyError, match="no model 'c'; there are 'a', 'b'"):
        board["c"]


def test_unreadable_pictures_are_left_out_for_all(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pairs = pictures()
    board = evaluate([model("a"), model("b")], [pairs[0], (tmp_path / "bad.png", "red"), *pairs[1:]])
    assert board.images == 12
    [failure] = board.failures
    assert (failure.index, failure.source) == (1, str(tmp_path / "bad.png"))
    assert board["a"].figures == evaluate(model("a"), pairs)["a"].figures
    assert "1 pictures were left out for all models" in str(board)


def test_labels_are_compared_by_name():
    """The order of a model's labels is its own; those that the data lacks are wrong, and classes it lacks are too."""
    pairs = pictures(30, spread=70)
    board = evaluate(model("turned", labels=("red", "blue", "green"), order=(0, 2, 1)), pairs)
    assert board["turned"].figures["accuracy"].value == 1.0
    board = evaluate(model("half", labels=("yellow", "red", "blue"), order=(1, 0, 2)), pairs)
    row = board["half"]
    assert row.missing == ("green",)
    assert row.foreign == 1
    assert row.figures["accuracy"].value == pytest.approx(2 / 3)
    assert row.figures["macro_f1"].value == pytest.approx(2 / 3)  # over the data's classes: yellow is none
    assert row.confusion == ((10, 0, 0, 0), (0, 0, 0, 10), (0, 0, 10, 0))
    assert "half does not know 1 of the 3 classes: 'green'" in str(board)
    assert "half has 1 labels that the data lacks" in str(board)
    with pytest.raises(InputError, match=r"none of the labels of other \('x', 'y', …\) is among the data's classes"):
        evaluate(model("other", labels=("x", "y"), order=(0, 1)), pairs)


def test_top_5_among_more_labels():
    labels = [*COLORS, "a", "b", "c", "d"]
    board = evaluate(model("many", labels=labels), pictures(30, spread=255))
    figures = board["many"].figures
    assert figures["accuracy"].value < figures["top5_accuracy"].value == 1.0


def test_a_saved_folder_and_a_trained_model(tmp_path):
    run = vk.train(pictures(60, spread=70), epochs=3, out=tmp_path / "run")
    board = evaluate([tmp_path / "run", run.model], pictures(30, spread=70))
    assert board.rows[0].model == str(tmp_path / "run")
    assert board.rows[0].figures == board.rows[1].figures


def test_models_that_choose_among_labels(tiny):
    pairs = [(picture, f"a {label} square") for picture, label in pictures(9)]
    board = evaluate(tiny, pairs)
    answers = vk.classify([p for p, _ in pairs], ["a blue square", "a green square", "a red square"], model=tiny)
    right = np.mean([answer.label == label for answer, (_, label) in zip(answers, pairs, strict=True)])
    assert board.rows[0].figures["accuracy"].value == pytest.approx(right)
    assert evaluate(tiny, pairs, labels=["a red square", "a fish"]).rows[0].missing == (
        "a blue square",
        "a green square",
    )


def test_models_choose_among_the_classes_of_all_the_data(tiny):
    """Also those that the measured part lacks: to leave them out would make its questions easier."""
    colors = [[(picture, f"a {label} square") for picture, label in pictures(9)][i::3] for i in range(3)]
    board = evaluate(tiny, {"train": [*colors[0], *colors[1], *colors[2]], "test": colors[0]})
    asked = ["a blue square", "a green square", "a red square"]
    answers = vk.classify([picture for picture, _ in colors[0]], asked, model=tiny)
    assert board.labels == tuple(asked)
    assert board.rows[0].confusion[2] == tuple(sum(a.label == name for a in answers) for name in [*asked, ""])
    assert sum(map(sum, board.rows[0].confusion)) == board.images == 3


def test_pictures_that_a_model_learnt_from_are_told(tmp_path, caplog):
    pairs = pictures(40, spread=70)
    parts = {"train": pairs[:30], "val": pairs[30:]}
    run = vk.train(parts, epochs=1, out=tmp_path / "run")
    with caplog.at_level(logging.WARNING, "visionkit"):
        board = evaluate([tmp_path / "run", run.model, model("other")], pairs)
    assert [row.learnt for row in board.rows] == [0.75, 0.75, None]
    told = f"{tmp_path / 'run'} learnt from 75.0% of these pictures: its figures are too good"
    assert f"visionkit: {told}" in caplog.messages
    assert told in str(board)
    assert told in html.unescape(board._repr_html_())
    assert json.loads(board.model_dump_json())["rows"][0]["learnt"] == 0.75
    caplog.clear()
    assert evaluate(run.model, parts).rows[0].learnt == 0.0  # the very part, though all the data is the same
    assert not caplog.messages
    assert "learnt from all of these pictures" in str(evaluate(run.model, pairs[:30]))


@pytest.mark.parametrize(
    ("learnt", "said"),
    [
        ((1.0, 100, 100), "all"),
        ((1.0, 20, 20), "about 100%"),
        ((0.25, 5, 20), "about 25%"),
        ((None, 4, 4), "at least 4"),
    ],
)
def test_what_is_guessed_of_learnt_pictures_is_said_to_be(learnt, said):
    share, found, told = learnt
    row = ModelScore(model="a", figures={}, images_per_second=1.0, learnt=share, learnt_found=found, learnt_told=told)
    board = Scoreboard(rows=(row,), labels=COLORS, images=100)
    assert board.learnt_before() == [f"a learnt from {said} of these pictures: its figures are too good"]


def test_its_chart_shows_every_interval():
    board = evaluate([model("one $x$"), model("<b>", order=(2, 0, 1))], pictures(30, spread=255))
    figure = board.plot()
    assert [axes.get_title() for axes in figure.axes] == ["accuracy", "macro F1", "AUROC", "ECE", "speed"]
    [bars] = figure.axes[0].containers
    [lines] = bars[2]
    found = [board.rows[i].figures["accuracy"] for i in (0, 1)]
    ends = [segment[:, 0] for segment in lines.get_segments()]
    assert np.array(ends) == pytest.approx(np.array([(100 * i.low, 100 * i.high) for i in found]))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [r"one \$x\$", "<b>"]
    figure.savefig(io.BytesIO())
    page = board._repr_html_()
    low, high = found[0].low, found[0].high
    assert f"left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%" in page
    assert html.escape(str(found[0])) in page
    assert "one alone: p50" in page
    assert "<b>" not in page


def test_a_matrix_of_over_a_thousand_classes_is_left_out():
    names = [f"{i:04}" for i in range(1001)]
    pairs = [(np.full((8, 8, 3), i % 256, np.uint8), name) for i, name in enumerate(names)][:3]
    few = evaluate(FakeClassifier(names), pairs)
    assert len(few.rows[0].confusion) == 3
    many = evaluate(FakeClassifier(names), {"train": [(b"x", name) for name in names], "test": pairs})
    assert many.rows[0].confusion == ()
    assert len(many.labels) == 1001


def test_a_hosted_model_names_a_label_and_ranks_nothing():
    board = evaluate(FakeDescriber(), pictures())
    [row] = board.rows
    assert set(row.figures) == {"accuracy", "macro_f1"}
    assert row.figures["accuracy"].value == pytest.approx(1 / 3)
    assert row.latency_p50_ms is None


def test_the_part_for_measuring_is_measured(tmp_path):
    lines = ["image,label,split"]
    for i, (picture, label) in enumerate(pictures(12)):
        vk.load_image(picture).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{label},{'train' if i < 6 else 'test'}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    assert evaluate(model("one"), tmp_path / "table.csv").images == 6


def test_several_labels_a_picture():
    pairs = [(picture, [label] if i % 2 else [label, "light"]) for i, (picture, label) in enumerate(pictures(40))]
    board = evaluate(model("one", scale=20.0), pairs)
    [row] = board.rows
    assert set(row.figures) == {"accuracy", "macro_f1", "mean_average_precision", "auroc", "ece"}
    assert row.missing == ("light",)
    assert row.confusion == ()


@pytest.mark.parametrize(
    ("models", "data", "error", "message"),
    [
        ([], pictures(), InputError, "evaluate needs one model at least"),
        (3, pictures(), InputError, "model=int is no model"),
        (nn.Flatten(), pictures(), InputError, r"model=Flatten is no model: wrap it first"),
        (FakeClassifier(COLORS), [], TrainingError, "there are no pictures"),
        (FakeClassifier(COLORS), [(b"x", "red"), (b"y", "blue")], InputError, "no picture that every model can answer"),
    ],
)
def test_bad_input(models, data, error, message):
    with pytest.raises(error, match=message):
        evaluate(models, data)


def test_a_model_of_another_kind():
    embedder = vk.wrap_model(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), preprocess=PLAIN, name="embedder")
    with pytest.raises(CapabilityError, match="embedder cannot classify"):
        evaluate(embedder, pictures())


def test_json_is_plain():
    read = json.loads(evaluate(model("one"), pictures()).model_dump_json())
    assert read["rows"][0]["figures"]["accuracy"].keys() == {"value", "low", "high"}
