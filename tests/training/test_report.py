"""The report of a training: complete, honest, and harmless whatever the data is called."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import visionkit as vk
from support.results import HOSTILE
from visionkit.errors import InputError
from visionkit.results import charts
from visionkit.training import TrainingRun
from visionkit.training.data import Labelled
from visionkit.training.evidence import worst_mistakes

TAGS = {
    "html", "head", "meta", "link", "title", "style", "body", "main", "section", "h1", "h2", "h3", "p", "div", "b",
    "span", "br", "table", "tr", "th", "td", "img", "svg", "path", "text", "rect", "polyline", "circle", "figure",
    "figcaption", "details", "summary",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "rel", "href", "class", "tabindex", "style", "src", "alt",
    "viewbox", "role", "aria-label", "d", "x", "y", "width", "height", "points", "cx", "cy", "r", "text-anchor",
    "fill-opacity",
}  # fmt: skip
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """The elements, attributes and text of a page, which must be well formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.headings: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            return
        self.text += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def noisy(names=("cat", "dog"), count=30, size=10):
    """Pictures of two kinds that overlap, so that some are answered wrongly."""
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        for channel, label in ((0, names[0]), (2, names[1])):
            picture = random.integers(0, 200, (size, size, 3), dtype=np.uint8)
            picture[..., channel] = np.minimum(picture[..., channel] + int(random.integers(0, 40)), 255)
            pairs.append((picture, label))
    return pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "cats and dogs"
    return vk.train([*noisy(), (b"nothing", "cat")], epochs=3, out=folder)


def test_what_it_tells(run):
    page = Page((run.folder / "report.html").read_text())
    assert page.headings == [
        "Data", "Learning", "Confusion", "Every class", "Calibration", "Worst mistakes", "Settings and versions",
        "Pictures that could not be loaded",
    ]  # fmt: skip
    for said in (
        "Training report: cats and dogs",
        f"{run.figures['accuracy'].value:.1%}",
        f"{run.figures['accuracy'].low:.1%} to {run.figures['accuracy'].high:.1%}",
        f"{run.worst[0].probability:.1%} sure",
        "learning_rate0.006",
        'recipe.optimizer"adamw"',
        f"torch{torch.__version__.partition('+')[0]}",
        "ImageDecodeError",
        "<7 bytes>",
    ):
        assert said in page.text, said
    pictures = [vk.load_image(value) for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) == 8 + 2 * len(run.worst)  # four examples of each class; each mistake and its heat
    assert all(value for tag, name, value in page.attributes if name == "alt")
    assert page.tags.count("h1") == 1


def test_the_figures_are_those_of_the_saved_model(run, tmp_path):
    """What the report says of the pictures set aside, the model from its folder says of them too."""
    pairs = noisy()
    check = pairs[:20]
    again = vk.train(pairs[20:], validation=check, epochs=3, out=tmp_path / "again")
    model = vk.load_model(tmp_path / "again")
    assert model.temperature == again.model.temperature == again.calibration.temperature
    board = vk.evaluate(model, check)
    for name in ("accuracy", "macro_f1", "auroc", "ece"):
        assert board.rows[0].figures[name].value == pytest.approx(again.figures[name].value, abs=1e-5), name
    answers = vk.classify([picture for picture, _ in check], model=model)
    wrong = sorted((a.score for a, (_, label) in zip(answers, check, strict=True) if a.label != label), reverse=True)
    assert [mistake.probability for mistake in again.worst] == pytest.approx(wrong[:12], abs=1e-5)


def test_names_do_no_harm(tmp_path):
    name = HOSTILE.replace("\udcff", "")
    pairs = noisy(names=(name, "</style></svg>'\"><b onclick=alert(1)>"))
    folder = tmp_path / "<script>alert(1)"
    folder.mkdir()
    bad = folder / '"><img src=x onerror=alert(1)>.png'
    bad.write_bytes(b"no picture")
    run = vk.train([*pairs, (bad, name)], epochs=1, out=folder / "<i>run")
    page = Page((run.folder / "report.html").read_text())
    assert set(page.tags) <= TAGS
    assert {name for _, name, _ in page.attributes} <= ATTRIBUTES
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert [value for _, name, value in page.attributes if name == "href"] == ["data:,"]
    assert all(value.startswith("data:image/") for _, name, value in page.attributes if name == "src")
    assert '<script>document.title="ran"</script>' in page.text
    assert "onerror=alert(1)>.png" in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", page.text)
    [policy] = [v for tag, name, v in page.attributes if (tag, name) == ("meta", "content") and "src" in v]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_name_that_no_file_can_hold_is_refused_before_training(tmp_path):
    with pytest.raises(InputError, match=r"label 'c\\udcff' is no text: it has bytes that are not UTF-8; rename it"):
        vk.train(noisy(names=("c\udcff", "d")), out=tmp_path / "x")


def test_without_a_folder_nothing_is_written_or_loaded_until_asked(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, numpy as np, visionkit as vk\n"
        "pairs = [(np.full((8, 8, 3), 60 * (i % 2) + i, np.uint8), 'ab'[i % 2]) for i in range(16)]\n"
        "run = vk.train(pairs, epochs=1)\n"
        "print(sorted({'matplotlib', 'captum', 'visionkit.training.report'} & set(sys.modules)))\n"
        f"print(run.write_report({str(tmp_path / 'report.html')!r}))\n"
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", str(tmp_path / "report.html"), "False"]
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_run_from_json_has_a_report_too(run, tmp_path):
    again = TrainingRun.model_validate_json(run.model_dump_json())
    assert again.calibration == run.calibration
    assert again.worst == run.worst
    page = Page(again.write_report(tmp_path / "again.html").read_text())
    assert page.headings[:2] == ["Data", "Learning"]
    counts = run.data.counts["cat"]
    assert counts["train"] + counts["val"] >= 30
    assert f"cat{counts['train']}{counts['val']}" in page.text
    assert "img" not in page.tags  # the pictures were arrays


def test_pictures_come_from_files_that_are_still_there(tmp_path):
    pairs = []
    for i, (picture, label) in enumerate(noisy(count=12)):
        vk.load_image(picture).save(tmp_path / f"{i}.png")
        pairs.append((tmp_path / f"{i}.png", label))
    run = vk.train(pairs, epochs=1)
    assert run.worst
    again = TrainingRun.model_validate_json(run.model_dump_json())
    assert Page(again.report()).tags.count("img") == len(run.worst)
    assert run.worst[0].source.startswith(str(tmp_path))


def test_a_drawing_that_fails_costs_nothing(run):
    def fails(image, label):
        raise RuntimeError("no such layer")

    before = run._evidence
    run.keep(type(before)(**{**vars(before), "explain": fails}))
    try:
        assert Page(run.report()).tags.count("img") == 8 + len(run.worst)
    finally:
        run.keep(before)


def test_what_was_missed_and_what_was_seen_in_error():
    check = Labelled((b"1", b"2", b"3"), (("a", "not a"), ("b",), ()))
    logits, targets = torch.tensor([[4.0, -9.0, 3.0], [-5.0, -6.0, -5.0], [-8.0, 7.0, -8.0]]), torch.zeros(3, 3)
    targets[0, 0] = targets[0, 2] = targets[1, 1] = 1.0
    places, worst = worst_mistakes(check, logits, targets, ("a", "b", "not a"), 1.0)
    assert places == (2, 1)
    assert [(m.label, m.answer, m.missed) for m in worst] == [("none", "b", False), ("b", "not b", True)]
    assert worst[0].probability == pytest.approx(1 / (1 + np.exp(-7)))


@pytest.mark.parametrize("missed", [False, True])
def test_whether_a_label_was_missed_is_told_by_no_name(run, missed):
    evidence, [first, *_] = run._evidence, run.worst
    named = run.model_copy(update={"worst": (first.model_copy(update={"answer": "not hot dog", "missed": missed}),)})
    asked = []

    def explain(image, label):
        asked.append(label)
        raise RuntimeError("no such layer")

    named.keep(type(evidence)(**{**vars(evidence), "worst": evidence.worst[:1], "explain": explain}))
    assert "not hot dog" in named.report()
    assert asked == ([] if missed else ["not hot dog"])


def test_a_file_that_cannot_be_written(run, tmp_path):
    with pytest.raises(InputError, match="cannot write .*: No such file or directory"):
        run.write_report(tmp_path / "nowhere" / "report.html")


def test_many_classes_are_folded_away():
    pairs = [(np.full((4, 4, 3), 4 * i + j, np.uint8), f"class {i:02}") for i in range(50) for j in range(4)]
    page = Page(vk.train(pairs, epochs=1, validation=pairs).report())
    assert page.tags.count("details") == 2
    assert "rect" in page.tags  # the confusion as a picture
    assert "200 pictures are set aside also among those learnt from" in page.text


def test_several_labels():
    pairs = [(picture, [label, "animal"] if i % 3 else [label]) for i, (picture, label) in enumerate(noisy())]
    run = vk.train(pairs, epochs=2)
    assert run.figures["mean_average_precision"].value > 0
    page = Page(run.report())
    assert "Confusion" not in page.headings
    assert {"Data", "Learning", "Calibration", "Worst mistakes"} <= set(page.headings)


def test_curves():
    drawn = charts.lines({"a": [1.0, 0.5, 0.25], "b": [2.0, float("nan"), 1.0]}, "losses <b>")
    points = re.findall(r'points="([^"]+)"', drawn)
    assert len(points) == 1  # b has a gap on both sides: dots
    xs, ys = zip(*(map(float, p.split(",")) for p in points[0].split()), strict=True)
    assert xs == (52.0, 260.0, 468.0)
    assert (ys[0] - ys[2]) / (ys[1] - ys[2]) == pytest.approx(3.0, abs=0.01)  # 1 to 0.25 is three times 0.5 to 0.25
    assert drawn.count("<circle") == 2
    assert "losses &lt;b&gt;" in drawn
    assert charts.lines({"a": [float("nan")]}, "x") == ""
    assert "<circle" in charts.lines({"a": [0.5]}, "x")
    assert "50%" in charts.lines({"a": [0.4, 0.6]}, "x", percent=True)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.93, 0.981), (1e-9, 3e-9), (-5, 1e6), (2, 2), (0, 0)])
def test_ticks_are_round_and_span_the_values(low, high):
    ticks = charts._ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 8
    assert np.ptp(np.diff(ticks)) == pytest.approx(0, abs=1e-9 * abs(ticks[-1]))


def test_reliability_bars_stand_where_they_should():
    from visionkit.results.metrics import reliability

    drawn = charts.reliability(reliability([True, True, False], [0.99, 0.98, 0.5]), "x")
    bars = re.findall(r'<rect [^>]*x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawn)
    assert [(float(x), float(height)) for x, _, _, height in bars] == [(137.3, 0.0), (230.7, 200.0)]
