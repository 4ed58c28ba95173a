"""What `classify` prints, as text, JSON and CSV, about files with names that harm terminals and spreadsheets."""

from __future__ import annotations

import csv
import json
import os

import pytest

from support import commands
from visionkit.cli.output import csv_row, json_line, text_lines
from visionkit.results import Classification

ARGUMENTS = ("classify", "--model", "colors:mean")

NAMES = [b"=1+1,x.jpg", b"a\x1b[31m\n\xc3\xbc.jpg", b"b\xff.jpg", b"c\xc2\x9b31m.jpg", b"d\xe2\x80\xaegpj.jpg"]
ESCAPED = ["=1+1,x.jpg", "a\\x1b[31m\\nü.jpg", "b\\udcff.jpg", "c\\x9b31m.jpg", "d\\u202egpj.jpg"]
UNSAFE = [b"\x1b", b"\xff", b"\xc2\x9b", b"\xe2\x80\xae"]


def run(*arguments, how=commands.run, **options):
    """What the command leaves with and prints."""
    done = how(*ARGUMENTS, *arguments, **options)
    return done.returncode, done.out, done.err


def csv_rows(data):
    assert data.endswith(b"\r\n")
    return list(csv.DictReader(data.decode().split("\r\n")))


@pytest.fixture(scope="module")
def named(tmp_path_factory, photos):
    """A folder of pictures with such names, and a broken one."""
    folder = tmp_path_factory.mktemp("named")
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(photos[1].read_bytes())
    (folder / os.fsdecode(b"e\xfe\n.jpg")).write_bytes(b"no picture")
    return folder


def test_text(named):
    code, out, err = run(".", folder=named)
    assert code == 1
    assert out.decode().splitlines()[::4] == ESCAPED
    assert err.decode().splitlines()[0] == "e\\udcfe\\n.jpg"
    assert not any(sign in out + err for sign in UNSAFE)


def test_json_has_the_names_themselves(named):
    code, out, err = run(".", "--json", folder=named)
    assert code == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert [os.fsencode(record["source"]) for record in records] == [*NAMES, b"e\xfe\n.jpg"]
    assert records[-1]["error"] == "ImageDecodeError"
    assert not any(sign in out + err for sign in UNSAFE)
    assert all((named / record["source"]).exists() for record in records)


def test_csv(named):
    names = [*NAMES, b"e\xfe\n.jpg"]
    code, out, err = run(*map(os.fsdecode, names), "--csv", "--top-k", "2", folder=named)
    assert (code, err) == (1, b"")
    rows = csv_rows(out)
    assert [row["source"] for row in rows] == [f"'{ESCAPED[0]}", *ESCAPED[1:], "e\\udcfe\\n.jpg"]
    assert rows[0]["label"] == rows[0]["label_1"] in ("red", "green", "blue")
    assert float(rows[0]["score"]) == float(rows[0]["score_1"]) > float(rows[0]["score_2"])
    assert "label_3" not in rows[0]
    assert rows[0]["error"] == ""
    assert rows[-1]["error"] == "ImageDecodeError"
    assert "e\\udcfe\\n.jpg" in rows[-1]["message"]
    assert not any(sign in out for sign in UNSAFE)


def test_labels_that_harm():
    made = Classification.from_scores({"=x\x1b[31m\n\udcff": 0.5, "b": -0.25}, model="m", source="x")
    assert text_lines(made, 2).splitlines()[1].startswith("  =x\\x1b[31m\\n\\udcff  ")
    assert csv_row(made, 2).decode().count("'=x\\x1b[31m\\n\\udcff,0.5") == 2
    assert b",b,-0.25," in csv_row(made, 2)
    assert json.loads(json_line(made, 2, "x"))["label"] == made.label


def test_a_terminal_of_another_encoding(named):
    code, out, err = run(".", "--json", how=commands.run_alone, folder=named, PYTHONIOENCODING="ascii")
    assert (code, err) == (1, b"")
    assert len(out.splitlines()) == len(NAMES) + 1


def test_json_and_csv_exclude_each_other(cat):
    code, out, err = run(cat, "--json", "--csv")
    assert (code, out, err) == (2, b"", b"visionkit: --json and --csv exclude each other\n")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.png", "http://127.0.0.1:9/"])
def test_a_url_is_no_folder(url, tmp_path, cat):
    inside = tmp_path / "http:" / "127.0.0.1:9" / "x.png"
    inside.mkdir(parents=True)
    (inside / "cat.jpg").write_bytes(cat.read_bytes())
    code, out, _ = run(url, "--json", folder=tmp_path)
    assert code == 1
    record = json.loads(out)
    assert record["source"] == url
    assert record["error"] == "FetchError"


def test_a_data_uri_longer_than_any_path():
    code, _, err = run("data:image/png;base64," + "A" * 9000)
    assert code == 1
    assert err.decode().startswith("<data URI>\n  failed: ")
