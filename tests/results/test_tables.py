"""`to_pandas` and `save_results`: every kind of result, mixed with failures, read again by other programs."""

from __future__ import annotations

import csv
import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

import visionkit as vk
from support.results import HOSTILE, every_result
from visionkit.errors import InputError
from visionkit.results import Answer, Classification, Detections, Embeddings, GeneratedImage, GeneratedImages
from visionkit.results.tables import plain
from visionkit.training import TrainingRun

FORMATS = ["json", "jsonl", "csv", "parquet"]
ROWS = {"embeddings": 3, "generated": 2, "training": 2}
KINDS = {"classification": Classification, "detections": Detections, "embeddings": Embeddings, "answer": Answer}
KINDS |= {"abstained": Classification, "said": Classification, "no detections": Detections}
SCORES = {"a": 0.5, "b": 0.25, "c": 0.125, "d": 0.0625, "e": 0.03125, "f": 0.03125}


def classification(source, **scores):
    return Classification.from_scores(scores or SCORES, model="m", source=source)


def failure(index=0):
    return vk.Failure(f"bad{index}.png", index, InputError("cannot load it"))


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", KINDS)
def test_json_and_back(name, tmp_path):
    result = every_result("x.png")[name]
    assert KINDS[name].model_validate_json(result.model_dump_json()) == result
    [line] = vk.save_results(result, tmp_path / "one.jsonl").read_text().splitlines()
    assert KINDS[name].model_validate_json(line) == result
    assert json.loads(line) == json.loads(result.model_dump_json())
    [value] = json.loads(vk.save_results([result], tmp_path / "one.json").read_text())
    assert KINDS[name].model_validate(value) == result


def test_json_and_back_of_what_holds_an_object_or_a_model():
    answer = every_result("x.png")["answer with parsed"]
    read = Answer.model_validate_json(answer.model_dump_json())
    assert read == answer.model_copy(update={"parsed": {"name": "x.png", "legs": 4}})
    run = every_result("x.png")["training"]
    read = TrainingRun.model_validate_json(run.model_dump_json())
    assert read == run
    assert "cannot load x.png" in str(read.failures[0].error)


def test_json_and_back_of_generated_pictures_but_for_the_pixels():
    made = every_result("x.png")["generated"]
    records = json.loads(made.model_dump_json())["images"]
    again = [GeneratedImage(image=old.image, **record) for old, record in zip(made, records, strict=True)]
    assert GeneratedImages(images=again, model=made.model, source=made.source) == made


def test_json_of_a_failure(tmp_path):
    [record] = json.loads(vk.save_results(failure(3), tmp_path / "x.json").read_text())
    assert record == failure(3).model_dump()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", every_result("x.png"))
def test_every_result_in_every_format(name, suffix, tmp_path):
    results = every_result("pictures/\udcff\n.png", HOSTILE)
    path = vk.save_results([failure(), results[name]], tmp_path / f"out.{suffix}")
    assert os.listdir(tmp_path) == [f"out.{suffix}"]
    data = path.read_bytes()
    rows = 1 + ROWS.get(name, 1)
    if suffix == "parquet":
        table = pd.read_parquet(path)
        assert len(table) == rows
        assert set(table) >= set(vk.to_pandas(results[name]))
        return
    assert data.decode()  # UTF-8
    if suffix == "csv":
        assert len(read_csv(path)) == rows
        assert data.endswith(b"\r\n")
    else:
        records = json.loads(data) if suffix == "json" else [json.loads(line) for line in data.split(b"\n")[:-1]]
        assert len(records) == 2
        assert records[0]["error"] == "InputError"
    if name == "classification":
        assert rb"pictures/\udcff" in data.replace(b"\\\\", b"\\")


def test_a_row_for_each_result_in_order():
    table = vk.to_pandas([classification("a.png"), failure(1), classification("c.png")])
    assert list(table) == ["source", "model", "label", "score", "score_kind", "scores", "usage", "error", "message"]
    assert table["source"].tolist() == ["a.png", "bad1.png", "c.png"]
    assert table["error"].isna().tolist() == [True, False, True]
    assert table["message"][1] == "cannot load it"
    assert table["scores"][0] == SCORES
    assert table["score"].dtype == np.float64


def test_embeddings_have_a_row_for_each_source():
    vectors = np.eye(3, 5, dtype=np.float32)
    found = Embeddings(
        vectors=vectors, sources=["a", "c", "d"], failures=[failure(4), failure(1)], model="m", source="5 images"
    )
    table = vk.to_pandas(found)
    assert table["source"].tolist() == ["a", "bad1.png", "c", "d", "bad4.png"]
    np.testing.assert_array_equal(np.stack(table["vector"].dropna()), vectors)


def test_an_embeddings_file_is_float32(tmp_path):
    found = Embeddings(vectors=np.eye(3, 5), sources=["a", "b", "c"], model="m", source="3 images")
    table = parquet.read_table(vk.save_results(found, tmp_path / "x.parquet"))
    assert str(table.schema.field("vector").type) == "list<element: float>"
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), found.vectors)


def test_a_row_for_each_object_by_explode():
    boxes = np.array([[0, 0, 9, 9], [1, 2, 3, 4]], np.float32)
    found = Detections(boxes_xyxy=boxes, labels=["a", "b"], scores=[0.5, 0.25], size_wh=(9, 9), model="m", source="x")
    table = vk.to_pandas([found, found]).explode(["labels", "scores", "boxes_xyxy"])
    assert table["labels"].tolist() == ["a", "b"] * 2
    assert table["scores"].tolist() == [0.5, 0.25] * 2
    np.testing.assert_array_equal(np.stack(table["boxes_xyxy"]), np.concatenate([boxes, boxes]))


def test_a_training_has_a_row_for_each_epoch():
    table = vk.to_pandas(every_result("x")["training"])
    assert table["epoch"].tolist() == [1, 2]
    assert table["accuracy"].tolist() == [0.75, 0.75]


def test_several_kinds_in_one_pandas_table_and_none():
    mixed = vk.to_pandas(list(every_result("x").values()))
    assert len(mixed) == len(every_result("x")) + 4
    assert {"label", "boxes_xyxy", "vector", "text", "seed", "epoch"} <= set(mixed)
    assert list(mixed)[-2:] == ["error", "message"]
    assert vk.to_pandas([]).shape == (0, 3)
    assert vk.to_pandas([failure()])["error"].tolist() == ["InputError"]


def test_csv_shows_the_best_five(tmp_path):
    [row] = read_csv(vk.save_results(classification("x.png"), tmp_path / "x.csv"))
    assert row["label"] == row["label_1"] == "a"
    assert (row["label_5"], row["score_5"]) == ("e", "0.03125")
    assert "label_6" not in row
    [row] = read_csv(vk.save_results(classification("x.png", a=0.75, b=0.25), tmp_path / "x.csv"))
    assert (row["label_2"], row["label_3"], row["score_3"]) == ("b", "", "")


def test_parquet_has_all_scores(tmp_path):
    table = parquet.read_table(vk.save_results([classification("x.png"), failure(1)], tmp_path / "x.parquet"))
    assert dict(table["scores"][0].as_py()) == SCORES
    assert table["scores"][1].as_py() is None
    assert table["usage"].type.item_type == "int64"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_formulas_are_texts(start, tmp_path):
    harm = f'{start}HYPERLINK("http://127.0.0.1/?" & A1, "x"), "y"'
    path = vk.save_results([classification(f"{start}x.png", **{harm: -0.5}), failure(1)], tmp_path / "x.csv")
    row = read_csv(path)[0]
    assert row["label"] == row["label_1"] == f"'{harm}"
    assert row["source"] == f"'{start}x.png"
    assert row["score"] == "-0.5"  # a number is none


def test_csv_is_what_pandas_reads(tmp_path):
    answers = [
        Answer(text=text, usage={"input_tokens": i}, finish_reason="stop", model="m", source=f"{i}.png")
        for i, text in enumerate(['one, "two"\r\nthree', "", "ü 猫", ";|'"])
    ]
    table = pd.read_csv(vk.save_results(answers, tmp_path / "x.csv"), keep_default_na=False)
    assert [text.replace("\r\n", "\n") for text in table["text"]] == ['one, "two"\nthree', "", "ü 猫", ";|'"]
    assert [json.loads(usage) for usage in table["usage"]] == [{"input_tokens": i} for i in range(4)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_two_kinds_is_refused(suffix, tmp_path):
    with pytest.raises(InputError, match=r"here are Classification and Detections; \.json and \.jsonl take both"):
        vk.save_results([failure(), *every_result("x").values()][:5], tmp_path / f"x.{suffix}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_at_all(suffix, tmp_path):
    path = vk.save_results([], tmp_path / f"x.{suffix}")
    texts = {"json": "[]\n", "jsonl": "", "csv": "source,error,message\n"}
    if suffix in texts:
        assert path.read_text() == texts[suffix]
    else:
        assert pd.read_parquet(path).shape == (0, 3)


@pytest.mark.parametrize(
    ("results", "path", "message"),
    [
        ([], "x.txt", r"cannot save results as .*x\.txt: its suffix must be one of \.json, \.jsonl, \.csv, \.parquet"),
        ([], "x", r"its suffix must be one of"),
        ("a.png", "x.csv", "str is no result"),
        ({"a": 1}, "x.csv", "dict is no result"),
        (7, "x.csv", "int is no result"),
        ([failure(), "a.png"], "x.csv", "number 1 of the results is a str, which no verb returns"),
        ([], "missing/x.csv", r"cannot write .*missing/x\.csv: No such file or directory"),
        ([], "folder.csv", r"cannot write .*folder\.csv: Is a directory"),
    ],
)
def test_what_cannot_be_saved(results, path, message, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        vk.save_results(results, tmp_path / path)
    assert os.listdir(tmp_path) == ["folder.csv"]


def test_to_pandas_refuses_what_is_no_result():
    with pytest.raises(InputError, match="number 0 of the results is a int"):
        vk.to_pandas([1])


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_old_file_stays_until_the_new_one_is_whole(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"old")

    def breaking():
        yield classification("a.png")
        assert path.read_bytes() == b"old"
        raise OSError("the caller's own")

    with pytest.raises(OSError, match="the caller's own"):
        vk.save_results(breaking(), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]
    vk.save_results([classification("a.png")], path)
    assert path.read_bytes() != b"old"


def test_the_file_is_synced_before_it_takes_its_place(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda *a, **k: pytest.fail("rename"))
    monkeypatch.setattr(os, "replace", lambda *a, **k: (calls.append("replace"), replace(*a, **k))[1])
    vk.save_results([failure()], tmp_path / "x.csv")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "x.csv").write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*x\.csv: No space left on device"):
        vk.save_results([failure()], tmp_path / "x.csv")
    assert os.listdir(tmp_path) == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "old"


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_stream_is_written_as_it_comes(suffix, tmp_path):
    tracemalloc.start()
    vk.save_results(
        (failure(i) if i == 0 else classification(f"{i}.png") for i in range(3000)), tmp_path / f"x.{suffix}"
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len((tmp_path / f"x.{suffix}").read_bytes().splitlines()) == 3000 + (suffix == "csv")
    assert peak < 500_000


def test_plain_values():
    assert plain({1: (np.float32(0.5), np.int64(2), {3}), "x": float("nan")}) == {"1": [0.5, 2, [3]], "x": None}
    assert plain(frozenset()) == []
    assert plain(np.datetime64("2020-01-01")) == "2020-01-01"
