"""The one reader of configurations that came with a model, and the one way from a name to a folder."""

import json
import os

import pytest

from visionkit.errors import ModelLoadError, ModelNotFoundError
from visionkit.models import load_model
from visionkit.models.configs import MAX_CONFIG_BYTES, check_weight_maps, read_config
from visionkit.models.snapshots import find_folder, remember, whole_tokenizer, whole_weights

KEYS = {  # values that run or fetch code
    "auto_map": {"AutoModel": "evil.Model"},
    "code_revision": "main",
    "custom_pipeline": "evil",
    "custom_pipelines": {"evil": {}},
    "trust_remote_code": True,
    "attn_implementation": "evil/kernel",
    "_attn_implementation": "evil/kernel",
    "_attn_implementation_internal": "evil/kernel@main:attention",
    "_attn_implementation_autoset": {"": "evil/kernel"},
    "_experts_implementation": "evil/kernel",
}


def nest(fields, depth):
    for _ in range(depth):
        fields = {"inner": [1, fields]}
    return fields


@pytest.mark.parametrize("depth", [0, 1, 3, 100])
@pytest.mark.parametrize("key", KEYS)
def test_keys_that_run_code_are_refused_at_any_depth(tmp_path, key, depth):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(nest({key: KEYS[key]}, depth)))
    with pytest.raises(ModelLoadError, match=f"x:y: {path} has the key '{key}', which makes a library run code"):
        read_config(path, "x:y")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model_type": "rt_detr", "labels": ["auto_map"], "nested": {"map": None}},
        {"auto_map": None, "trust_remote_code": False, "custom_pipelines": {}, "_attn_implementation": None},
        {"attn_implementation": "eager", "text_config": {"_attn_implementation_internal": "sdpa"}},
    ],
)
def test_what_runs_nothing_is_read_as_it_is(tmp_path, fields):
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert read_config(tmp_path / "config.json", "x:y") == fields


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b'{"a":' * 100_000, "cannot be read as JSON"),
        (b"9" * 5000, "cannot be read as JSON"),
        (b"[1]", "is no JSON object, but a list"),
        (b"null", "is no JSON object, but a NoneType"),
        (b" " * (MAX_CONFIG_BYTES + 1), r"is larger than any configuration \(8,388,608 bytes\)"),
    ],
    ids=range(8),
)
def test_a_file_that_is_no_configuration(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=f"x:y: {path} {message}"):
        read_config(path, "x:y")


def test_a_folder_a_pipe_or_nothing_in_place_of_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe", "nothing"):
        with pytest.raises(ModelLoadError, match=f"x:y: the folder {tmp_path} has no file {name}"):
            read_config(tmp_path / name, "x:y")


@pytest.mark.parametrize(
    "file",
    ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "a\\x.safetensors", "..", "", "x.bin", "C:x.safetensors"],
)
@pytest.mark.parametrize("index", ["model.safetensors.index.json", "model.safetensors.index.fp16.json"])
def test_weights_elsewhere_are_refused(tmp_path, index, file):
    (tmp_path / index).write_text(json.dumps({"weight_map": {"a": "x-1.safetensors"}}))
    check_weight_maps(tmp_path, "x:y")
    (tmp_path / index).write_text(json.dumps({"weight_map": {"a": "x-1.safetensors", "b": file}}))
    with pytest.raises(ModelLoadError, match="names the weights '.*'; only safetensors files of that folder"):
        check_weight_maps(tmp_path, "x:y")


@pytest.mark.parametrize("fields", [{}, {"weight_map": ["x"]}, {"weight_map": {"a": ["x"]}}])
def test_an_index_that_maps_nothing_to_files(tmp_path, fields):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(fields))
    with pytest.raises(ModelLoadError, match="has no 'weight_map' from weights to files"):
        check_weight_maps(tmp_path, "x:y")


def test_a_name_becomes_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("plain", "with@sign"):
        (tmp_path / name).mkdir()
    assert find_folder("plain", prefix="x") == (tmp_path / "plain").relative_to(tmp_path)
    assert find_folder("~/plain", prefix="x") == tmp_path / "plain"
    assert find_folder("with", revision="sign", prefix="x").name == "with@sign"
    assert find_folder("owner/name", revision="main", prefix="x") is None
    with pytest.raises(ModelLoadError, match=r"^x:plain@main: a folder has no revisions; leave out @main"):
        find_folder("plain", revision="main", prefix="x")


@pytest.mark.parametrize("backend", ["transformers", "diffusers"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("@main", "names no model: a folder or a repository"),
        (" ", "names no model: a folder or a repository"),
        ("~nouser", "'~nouser' is no folder here, and cannot be a repository's name"),
        ("~nouser/x@main", "'~nouser/x' is no folder here, and cannot be"),
        ("x" * 5000, r"'x{200}… \(5,000 characters\)' is no folder here"),
        ("owner/" + "x" * 5000, r"… \(5,006 characters\)' is no folder here"),
        ("a\0b", "is no folder here, and cannot be"),
        ("alone", "'alone' is no folder here, and cannot be"),
        ("owner/na--me", "'owner/na--me' is no folder here, and cannot be"),
        ("owner/name.git", "'owner/name.git' is no folder here, and cannot be"),
        ("a/b/c", "'a/b/c' is no folder here, and cannot be"),
        ("../owner/name", "is no folder here, and cannot be"),
    ],
)
def test_names_that_can_be_neither_folder_nor_repository(backend, name, message):
    pytest.importorskip(backend)
    with pytest.raises(ModelNotFoundError, match=message):
        load_model(f"{backend}:{name}", task="detect" if backend == "transformers" else "generate")


def test_whether_all_weights_are_here(tmp_path):
    assert not whole_weights(tmp_path)
    (tmp_path / "model-1.safetensors").touch()
    assert whole_weights(tmp_path)
    parts = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    assert not whole_weights(tmp_path)
    (tmp_path / "model-2.safetensors").touch()
    assert whole_weights(tmp_path)


@pytest.mark.parametrize("words", [["tokenizer.json"], ["vocab.json", "merges.txt"], ["vocab.txt"], ["spiece.model"]])
def test_whether_all_of_a_tokenizer_is_here(tmp_path, words):
    for file in (*words, "tokenizer_config.json"):
        assert not whole_tokenizer(tmp_path)
        (tmp_path / file).touch()
    assert whole_tokenizer(tmp_path)


def test_a_branch_is_remembered_as_the_hubs_client_does(tmp_path):
    from huggingface_hub import snapshot_download

    folder = tmp_path / "models--owner--name" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    for revision in (None, "refs/pr/1"):
        remember(folder, revision)
        found = snapshot_download("owner/name", revision=revision, cache_dir=tmp_path, local_files_only=True)
        assert found == str(folder)
    remember(folder, "../../evil")
    remember(folder, folder.name)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["1", "main"]
