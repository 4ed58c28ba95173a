"""What is said of a data set before it is learnt from."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from PIL import Image

import visionkit as vk
from visionkit.errors import Failure, ImageDecodeError, InputError
from visionkit.images import load_image
from visionkit.pipeline.preprocess import Preprocess
from visionkit.pipeline.resident import load_pixels
from visionkit.pipeline.sketch import near_pairs, sketches
from visionkit.training.audit import audited, completed, near_duplicates, near_names
from visionkit.training.data import Labelled, read_data, split
from visionkit.training.data_report import DataReport
from visionkit.training.same_bytes import equal_sources


def labelled(pairs):
    return Labelled(tuple(source for source, _ in pairs), tuple(label for _, label in pairs))


def report_of(learn, check):
    return audited(labelled(learn), labelled(check))[0].report


def test_counts_and_a_clean_report(caplog):
    report = report_of([(b"1", "a"), (b"2", "a"), (b"3", "b")], [(b"4", "a"), (b"5", "b")])
    assert report.counts == {"a": {"train": 2, "val": 1}, "b": {"train": 1, "val": 1}}
    assert report.images == {"train": 3, "val": 2}
    assert report.warnings == ()
    assert repr(report) == "DataReport(2 classes: 3 train, 2 val)"
    assert caplog.messages == []
    assert DataReport.model_validate_json(report.model_dump_json()) == report


def test_the_same_bytes_on_both_sides_and_with_two_labels(tmp_path, caplog):
    (tmp_path / "one.png").write_bytes(b"same" * 3000)
    (tmp_path / "other.png").write_bytes(b"same" * 3000)
    (tmp_path / "middle.png").write_bytes(b"same" * 1500 + b"SAME" + b"same" * 1499)
    with caplog.at_level(logging.WARNING, "visionkit"):
        report = report_of(
            [(tmp_path / "one.png", "a"), (tmp_path / "middle.png", "b"), (b"x", "a"), (b"x", "b")],
            [(str(tmp_path / "other.png"), "a"), (b"y", "b")],
        )
    first, second = report.duplicates
    assert first.sources == (str(tmp_path / "one.png"), str(tmp_path / "other.png"))
    assert first.parts == ("train", "val")
    assert first.same_bytes
    assert second.labels == (("a",), ("b",))
    assert any("a picture is set aside also among those learnt from (the same bytes)" in m for m in caplog.messages)
    assert any(
        "a picture is there with two labels (the same bytes); the first, <1 bytes>, as 'a' and 'b'" in m
        for m in caplog.messages
    )


def test_pictures_are_counted_not_pairs(caplog):
    """Arrays share a name, but are told apart; what is there three times among those learnt from is one picture."""
    one, other = np.zeros((9, 8, 3), np.uint8), np.ones((9, 8, 3), np.uint8)
    learn = labelled([(one, "a"), (one.copy(), "a"), (one.copy(), "a"), (other, "b"), (other.copy(), "a")])
    check = labelled([(one.copy(), "a"), (one.copy(), "a"), (b"x", "b"), (other.copy(), "c")])
    learn, check = audited(learn, check)
    assert [d.ends for d in learn.report.duplicates] == [
        (("train", 0), ("val", 0)),
        (("train", 0), ("val", 1)),
        (("train", 3), ("train", 4)),
        (("train", 3), ("val", 3)),
    ]
    told = " ".join(learn.report.warnings)
    assert "3 pictures are set aside also among those learnt from (the same bytes)" in told
    assert "a picture is there with two labels" in told
    cells = np.random.default_rng(0).integers(0, 256, (9, 8, 9), dtype=np.uint8)
    near = near_duplicates(learn, check, cells[[0, 0, 0, 1, 1]], cells[[0, 0, 0, 1]])
    assert len(near) == 11
    full = completed(learn.report, (), near)
    assert len([d for d in full.duplicates if not d.same_bytes]) == 3
    assert any("a picture is set aside also among those learnt from (nearly the same" in w for w in full.warnings)


def test_places_are_those_of_the_data_that_was_given():
    data = labelled([(bytes([i]), "ab"[i % 2]) for i in range(12)])
    learn, check = split(data, 0.5, 0)
    again = learn.without({0, 3}).choose([2, 1])
    assert [data.sources[again.place_of(i)] for i in range(2)] == list(again.sources)
    assert [data.sources[check.place_of(i)] for i in range(6)] == list(check.sources)


def test_sources_that_are_compared(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    array = np.zeros((3, 4), np.uint8)
    sources = [
        array,
        array.copy(),
        np.zeros((4, 3), np.uint8),
        b"abc",
        bytearray(b"abc"),
        "https://x.test/a",
        "missing",
    ]
    assert equal_sources(sources) == [[0, 1], [3, 4]]
    assert equal_sources([tmp_path / "f", tmp_path / "f", tmp_path, tmp_path]) == [[0, 1]]


def test_names_that_are_nearly_one():
    assert near_names(["cat", "Cat", " cat", "dog", "ＣＡＴ", "fire_truck", "firetruck", "Fire Truck"]) == (
        (" cat", "Cat", "cat", "ＣＡＴ"),
        ("Fire Truck", "fire_truck", "firetruck"),
    )
    report = report_of([(b"1", "cat"), (b"2", "Cat")], [])
    assert report.warnings == ("the classes 'Cat', 'cat' differ by case or spaces alone: are they one?",)


def test_empty_unmeasured_and_uneven_classes(tmp_path):
    for name, count in (("few", 2), ("many", 40), ("none", 0)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.png").write_bytes(f"{name} {i}".encode())
    learn, check = audited(*split(read_data(tmp_path), 0.5, 0))
    assert learn.report is check.report
    assert learn.report.empty_classes == ("none",)
    assert learn.report.imbalance == 20.0
    uneven = "uneven classes: 20 pictures of 'many', 1 of 'few'; class weights may help the small ones"
    assert learn.report.warnings == ("the class 'none' is without any picture", uneven)
    lone = report_of([(b"1", "a"), (b"2", "b")], [(b"3", "a")])
    assert lone.warnings == (
        "the class 'b' is without a picture set aside: nothing will be known of how well they are learnt",
    )


def test_nearly_the_same_picture(photos, tmp_path):
    """A photo saved again, smaller and with more loss, is found; other photos are not."""
    copies = []
    for photo in photos:
        picture = load_image(photo)
        smaller = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        smaller.save(buffer, "JPEG", quality=60)
        copies.append(buffer.getvalue())
    learn = labelled([(photo, str(i)) for i, photo in enumerate(photos)])
    check = labelled([(copy, str(i)) for i, copy in enumerate(copies)])
    cells = [sketches(load_pixels(data.sources, Preprocess(size_wh=(224, 224)))[0]) for data in (learn, check)]
    assert near_pairs(*cells) == [(i, i) for i in range(len(photos))]
    twins = near_duplicates(learn, check, *cells)
    assert [twin.sources[0] for twin in twins] == [str(photo) for photo in photos]
    assert not any(twin.same_bytes for twin in twins)


def test_flat_pictures_are_not_called_the_same():
    flat = np.full((3, 8, 9), 7, np.uint8)
    assert near_pairs(flat, flat) == []
    assert near_pairs(flat[:0], flat) == []


def test_pairs_are_those_of_comparing_all_with_all():
    random = np.random.default_rng(0)
    one = random.integers(0, 256, (300, 8, 9), dtype=np.uint8)
    other = np.clip(one[::2].astype(int) + random.integers(-4, 5, (150, 8, 9)), 0, 255).astype(np.uint8)
    from visionkit.pipeline.sketch import MOST_BITS, difference_hashes

    bits = np.bitwise_count(difference_hashes(one)[:, None] ^ difference_hashes(other)[None])
    apart = np.abs(one[:, None].astype(int) - other[None]).mean((2, 3))
    expected = {(int(i), int(j)) for i, j in zip(*np.nonzero((bits <= MOST_BITS) & (apart <= 3.0)), strict=True)}
    assert len(expected) > 100
    assert set(near_pairs(one, other)) == expected


def test_what_decoding_shows_is_added_and_told_once(caplog):
    learn = labelled([(b"1", "a"), (b"2", "b")])
    report = report_of([(b"1", "a"), (b"2", "b")], [])
    failure = Failure("<1 bytes>", 0, ImageDecodeError("cannot load <1 bytes>: unknown"))
    with caplog.at_level(logging.WARNING, "visionkit"):
        full = completed(report, [failure], ())
    told = "1 pictures could not be loaded, and are left out; the first: cannot load <1 bytes>: unknown"
    assert full.warnings == (told,)
    assert caplog.messages == [f"visionkit: {told}"]
    assert full.unreadable == (failure,)
    assert len(learn) == 2


def test_html_is_escaped():
    report = report_of([(b"1", "<script>alert(1)</script>"), (b"2", "b"), (b"3", "B")], [])
    shown = report._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "differ by case" in shown


@pytest.mark.parametrize("multi", [True, False])
def test_several_labels(multi):
    pairs = [(b"1", ("a", "b")), (b"2", ("a",)), (b"3", ())] if multi else [(b"1", "a"), (b"2", "b")]
    report = report_of(pairs, [])
    assert report.multi_label is multi
    assert report.counts["a"]["train"] == (2 if multi else 1)


def test_a_run_carries_the_report(tmp_path, caplog):
    """Bad files are kept in it, duplicates across the parts found, what may be wrong is said before the training."""
    random = np.random.default_rng(0)
    for i in range(24):
        picture = random.integers(0, 100, (10, 10, 3), dtype=np.uint8)
        picture[..., i % 2] += 120
        folder = tmp_path / "data" / ("train", "val")[i >= 16] / ("Red", "red ")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        load_image(picture).save(folder / f"{i}.png")
        if i == 0:
            (tmp_path / "data" / "val" / "Red").mkdir(parents=True)
            load_image(picture).save(tmp_path / "data" / "val" / "Red" / "twin.png")
            load_image(np.clip(picture + 1.0, 0, 255).astype(np.uint8)).save(
                tmp_path / "data" / "val" / "Red" / "near.png"
            )
    (tmp_path / "data" / "train" / "Red" / "broken\n.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with caplog.at_level(logging.WARNING, "visionkit"):
        run = vk.train(tmp_path / "data", epochs=1, batch_size=8, out=tmp_path / "out")
    assert run.data.images == {"train": 17, "val": 10}
    assert run.data.near_names == (("Red", "red "),)
    assert [d.sources[1].rpartition("/")[2] for d in run.data.duplicates] == ["twin.png", "near.png"]
    assert [d.same_bytes for d in run.data.duplicates] == [True, False]
    [failure] = run.data.unreadable
    assert failure == run.failures[0]
    assert "broken\\n.png" in failure.source
    assert len([m for m in caplog.messages if "the same bytes" in m]) == 1
    assert len(run.data.warnings) == 4
    tuned = vk.fine_tune(tmp_path / "data", epochs=1)
    assert tuned.data.model_dump_json() == run.data.model_dump_json()
    again = type(run).model_validate_json((tmp_path / "out" / "run.json").read_text())
    assert again.data.counts == run.data.counts


def test_a_bad_file_ends_the_training_where_it_is_asked_to(tmp_path):
    pairs = [(np.full((4, 4, 3), i, np.uint8), "ab"[i % 2]) for i in range(16)] + [(b"broken", "a")] * 4
    for verb in (vk.train, vk.fine_tune):
        with pytest.raises(ImageDecodeError, match="cannot load <6 bytes>"):
            verb(pairs, epochs=1, on_error="raise")
        assert len(verb(pairs, epochs=1).failures) == 4
        with pytest.raises(InputError, match="on_error='stop' must be 'raise' or 'return'"):
            verb(pairs, epochs=1, on_error="stop")


def test_validation_data_may_lack_a_class():
    pairs = [(np.full((4, 4, 3), 16 * i, np.uint8), "abc"[i % 3]) for i in range(12)]
    run = vk.fine_tune(pairs, validation=[(np.full((4, 4, 3), 7, np.uint8), "c")], epochs=1)
    assert run.labels == ("a", "b", "c")
    assert sum(map(sum, run.confusion)) == sum(run.confusion[2]) == 1
