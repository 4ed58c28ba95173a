"""`open_clip:` names: what they load, what they refuse, and what a saved model needs of them."""

import copy
import json
import logging
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import open_clip
import pytest
import torch

import visionkit as vk
from visionkit.clip.open_clip_names import WEIGHTS_FILES, Remote, read_name
from visionkit.errors import CapabilityError, InputError, MissingExtraError, ModelLoadError, ModelNotFoundError
from visionkit.models.protocols import ImageEmbedder, Savable, TextEmbedder
from visionkit.models.registry import find_backend
from visionkit.models.saved import load_saved, rebuild, save_model
from visionkit.tasks.embed import embed
from visionkit.tasks.embed_texts import embed_texts

TEXTS = ["a cat", "a cup of coffee"]


def load(name, **options):
    return vk.load_model(f"open_clip:{name}", device="cpu", speed="exact", **options)


def test_a_model_has_all_that_verbs_need(tiny, tiny_folder):
    assert isinstance(tiny, ImageEmbedder)
    assert isinstance(tiny, TextEmbedder)
    assert isinstance(tiny, Savable)
    assert tiny.name == f"open_clip:{tiny_folder}"
    assert tiny.logit_scale == pytest.approx(100.0, rel=1e-4)
    assert (tiny.logit_bias, tiny.score_activation, tiny.prompts) == (0.0, "softmax", ("a photo of a {}.",))
    assert not tiny.module.training
    assert {p.dtype for p in tiny.module.parameters()} == {torch.float32}
    assert tiny.preprocess == vk.Preprocess(size_wh=(64, 64), mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))
    assert "(64, 64)" in repr(tiny)


def test_a_model_with_a_bias_was_trained_with_a_sigmoid(siglip):
    assert siglip.score_activation == "sigmoid"
    assert siglip.logit_bias == -10.0
    assert siglip.logit_scale == pytest.approx(10.0, rel=1e-4)
    half = (0.5, 0.5, 0.5)
    assert siglip.preprocess == vk.Preprocess(
        size_wh=(224, 224), resize="squash", interpolation="bilinear", mean=half, std=half
    )


def test_what_exceeds_the_context_is_cut_off(tiny):
    long = "word " * 400
    features = tiny.text_features([long, long + "more"])
    torch.testing.assert_close(features[0], features[1], rtol=0, atol=0)


def test_without_weights_nothing_is_fetched_and_the_seed_decides(monkeypatch, tiny_config, cat):
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    assert embed(cat, model=load("RN50", pretrained=False)).vectors.shape == (1, 1024)
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(load("mine", config=tiny_config, pretrained=False).text_features(TEXTS))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert (found[0] - found[2]).abs().max() > 1e-2


def test_weights_trained_with_quickgelu_get_it_by_either_name():
    plain, named, other = (
        read_name(open_clip, name, pretrained=False, config=None).config["model_cfg"]
        for name in ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai", "ViT-B-32/laion2b_s34b_b79k")
    )
    assert plain == named
    assert plain["quick_gelu"] is True
    assert "quick_gelu" not in other


def test_the_architecture_is_json_that_rebuilds_without_the_folder(tiny, tmp_path):
    record = json.loads(json.dumps(tiny.architecture()))
    assert record["model"] == "open_clip:tiny"
    assert record["options"]["pretrained"] is False
    again = rebuild(record, device="cpu", speed="exact")
    again.module.load_state_dict(tiny.module.state_dict())
    torch.testing.assert_close(again.text_features(TEXTS), tiny.text_features(TEXTS), rtol=0, atol=0)
    assert again.preprocess == tiny.preprocess
    assert again.architecture() == tiny.architecture()


def test_a_saved_model_answers_the_same(tiny, tmp_path, cat):
    save_model(tiny, tmp_path / "saved")
    again = load_saved(tmp_path / "saved", device="cpu", speed="exact")
    np.testing.assert_array_equal(embed(cat, model=again).vectors, embed(cat, model=tiny).vectors)
    assert again.logit_scale == tiny.logit_scale
    assert again.logit_bias == tiny.logit_bias
    scores = [vk.classify(cat, ["cat", "dog"], model=m).scores for m in (tiny, again)]
    assert scores[0] == scores[1]


def test_a_model_that_needs_a_tokenizer_of_transformers_is_not_saved_in_part(siglip, tmp_path):
    message = r"cannot be saved: the folder would not be complete, as its tokenizer .*'nobody/has-this-repository'"
    with pytest.raises(CapabilityError, match=message):
        save_model(siglip, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_a_model_of_its_own(tiny, cat):
    before = tiny.text_features(TEXTS)
    twin = copy.deepcopy(tiny)
    for parameter in twin.module.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(tiny.text_features(TEXTS), before, rtol=0, atol=0)
    assert twin.logit_scale == 1.0


def test_threads_may_share_a_model(siglip):
    alone = siglip.text_features(TEXTS)
    found = []
    threads = [threading.Thread(target=lambda: found.append(siglip.text_features(TEXTS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for features in found:
        torch.testing.assert_close(features, alone, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33/laion2b", r"no model 'open_clip:ViT-B-33/laion2b'.*did you mean open_clip:ViT-B-32 or"),
        ("no/such/folder", r"'no' is no architecture of open_clip, and 'no/such/folder' is no folder"),
        ("~nouser/x", r"'~nouser/x' is no folder"),
        ("x" * 5000, r"'x{200}… \(5,000 characters\)' is no folder"),
        (" ", r"'open_clip: ' names no model: a folder or"),
        ("RN50/laion2b", r"'laion2b' is no tag of open_clip's; the tags of RN50 are openai, yfcc15m, cc12m"),
        ("RN50", r"does not say which weights: add a tag.*openai, yfcc15m, cc12m.*or pretrained=False"),
        ("ViT-M-32", r"does not say which weights.*open_clip has no weights of ViT-M-32.*pretrained=False"),
    ],
)
def test_a_wrong_name_says_what_there_is(name, message):
    with pytest.raises(ModelNotFoundError, match=message):
        load(name)


def test_an_unknown_option_is_refused():
    with pytest.raises(InputError, match=r"do not take the option 'pretraind'; they take: pretrained, config"):
        load("RN50", pretraind=False)


def test_a_configuration_goes_without_weights(tiny_config):
    with pytest.raises(InputError, match=r"config= .* goes with pretrained=False"):
        load("mine", config=tiny_config)
    assert load("mine", config=tiny_config, pretrained=False).name == "open_clip:mine"


@pytest.mark.parametrize("variable", ["VISIONKIT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_was_wanted_from_where_and_how_to_have_it(variable, monkeypatch, tmp_path, cat, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ModelNotFoundError) as caught:
        vk.classify(cat, ["cat", "dog"])
    message = str(caught.value)
    for part in (
        "open_clip:ViT-B-32/laion2b_s34b_b79k is not on this machine",
        f"{variable} forbids",
        "(605 MB)",
        "Hugging Face, repository laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K --local-dir FOLDER",
        "open_clip:FOLDER",
        "or give a local folder",
    ):
        assert part in message
    assert capsys.readouterr().err == "", "nothing was fetched, so nothing is announced"
    assert list(tmp_path.iterdir()) == []


class Hub(BaseHTTPRequestHandler):
    """A model hub of one repository, on the loopback interface."""

    files: ClassVar[dict[str, bytes]] = {}
    refusal: ClassVar[int | None] = None
    asked: ClassVar[list[str]] = []

    def _answer(self, *, body):
        self.asked.append(f"{self.command} {self.path.rpartition('/')[2]}")
        content = self.files.get(self.path)
        status = self.refusal or (404 if content is None else 200)
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("ETag", '"0123456789"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content) if status == 200 else 0))
        self.end_headers()
        if body and status == 200:
            self.wfile.write(content)

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(Hub, "files", {})
    monkeypatch.setattr(Hub, "refusal", None)
    monkeypatch.setattr(Hub, "asked", [])
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for variable in ("VISIONKIT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_announced_on_the_log_and_on_stderr(hub, capsys, caplog):
    hub.files["/org/tiny/resolve/main/open_clip_pytorch_model.bin"] = b"weights"
    caplog.set_level(logging.INFO, "visionkit")
    wanted = Remote("open_clip:Tiny/tag", "org/tiny", WEIGHTS_FILES)
    assert wanted.fetch(open_clip, 12.0).read_bytes() == b"weights"
    line = "visionkit: fetching open_clip:Tiny/tag (12 MB) from Hugging Face, repository org/tiny"
    assert line in capsys.readouterr().err
    assert line in caplog.messages
    heads = [f"HEAD {name}" for name in WEIGHTS_FILES]
    assert [a for a in hub.asked if "open_clip" in a] == [*heads, f"GET {WEIGHTS_FILES[-1]}"]


@pytest.mark.parametrize(("refusal", "tries"), [(403, 1), (404, 3)])
def test_a_hub_that_refuses_is_an_error_that_says_how_to_go_on(hub, monkeypatch, refusal, tries):
    monkeypatch.setattr(hub, "refusal", refusal)
    message = (
        r"open_clip:Tiny/tag could not be fetched \(12 MB\) from .* org/tiny .*hf download org/tiny .*local folder"
    )
    with pytest.raises(ModelNotFoundError, match=message):
        Remote("open_clip:Tiny/tag", "org/tiny", WEIGHTS_FILES).fetch(open_clip, 12.0)
    assert len([a for a in hub.asked if "open_clip" in a]) == tries, (
        "only a file that is not there leaves the next to try"
    )


def broken(folder, **changes):
    """A folder of links to the files of another, with some replaced (bytes) or left out (None)."""

    def make(target):
        target.mkdir()
        for path in folder.iterdir():
            if path.name not in changes:
                (target / path.name).symlink_to(path)
        for name, content in changes.items():
            if content is not None:
                (target / name).write_bytes(content)
        return target

    return make


CONFIG, WEIGHTS, PICKLE = "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({CONFIG: None}, r"the folder has no open_clip_config.json; a folder that visionkit saved is given without"),
        ({CONFIG: b"{"}, r".*open_clip_config.json cannot be read as JSON"),
        ({CONFIG: b"[]"}, r".*open_clip_config.json is no JSON object, but a list"),
        ({CONFIG: b"{}"}, r"the configuration has no 'model_cfg' with 'vision_cfg' and 'text_cfg'"),
        ({CONFIG: b'{"model_cfg": {"vision_cfg": {}}}'}, r"the configuration has no 'model_cfg'"),
        ({WEIGHTS: None}, r"the folder has no weights: open_clip_model.safetensors or open_clip_pytorch_model.bin"),
        ({WEIGHTS: b"rubbish"}, r"the weights in open_clip_model.safetensors cannot be loaded \(SafetensorError"),
        ({WEIGHTS: None, PICKLE: b"rubbish"}, r"the weights in open_clip_pytorch_model.bin cannot be loaded"),
    ],
)
def test_a_folder_that_is_not_whole_says_what_it_lacks(changes, message, tiny_folder, tmp_path):
    folder = broken(tiny_folder, **changes)(tmp_path / "clip")
    with pytest.raises(ModelLoadError, match=rf"open_clip:{folder}: {message}"):
        load(folder)


def test_weights_of_another_network_do_not_load(tiny_folder, tiny_config, tmp_path):
    tiny_config["model_cfg"]["embed_dim"] = 16
    folder = broken(tiny_folder, **{CONFIG: json.dumps(tiny_config).encode()})(tmp_path / "clip")
    with pytest.raises(ModelLoadError, match=r"cannot be loaded \(RuntimeError: .*size mismatch"):
        load(folder)


def test_a_pickle_that_runs_code_is_refused(tiny_folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("the trap ran",))

    folder = broken(tiny_folder, **{WEIGHTS: None})(tmp_path / "clip")
    torch.save({"logit_scale": Trap()}, folder / PICKLE)
    with pytest.raises(ModelLoadError, match=r"cannot be loaded \(UnpicklingError: Weights only load failed"):
        load(folder)


@pytest.mark.parametrize("key", ["trust_remote_code", "auto_map", "_attn_implementation", "attn_implementation"])
def test_a_configuration_that_runs_code_is_refused(key, tiny_config, tiny_folder, tmp_path):
    tiny_config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {key: "evil/code"}
    message = rf"configuration has the key '{key}', which makes a library run code"
    with pytest.raises(ModelLoadError, match=message):
        load("mine", config=tiny_config, pretrained=False)
    folder = broken(tiny_folder, **{CONFIG: json.dumps(tiny_config).encode()})(tmp_path / "clip")
    with pytest.raises(ModelLoadError, match=rf"{CONFIG} has the key '{key}'"):
        load(folder)


@pytest.mark.parametrize("name", ["hf-hub:somebody/x", "local-dir:/somewhere", 5])
def test_a_backbone_that_leads_elsewhere_is_refused(siglip, name):
    config = copy.deepcopy(siglip._blueprint.config)
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = name
    with pytest.raises(ModelLoadError, match=rf"timm_model_name, {name!r}, must be an architecture of timm"):
        load("mine", config=config, pretrained=False)


ROBERTA = {"model_type": "roberta", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1,
           "intermediate_size": 32, "vocab_size": 64, "max_position_embeddings": 32}  # fmt: skip


@pytest.fixture
def towers(tiny_config, tmp_path):
    """Makes a folder of a text tower, with further keys; and the CLIP that takes its tower from a name."""

    def tower(**keys):
        folder = tmp_path / "towers" / "one"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**ROBERTA, **keys}))
        (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        return folder

    def clip(name):
        text = {"hf_model_name": name, "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
        config = {**tiny_config, "model_cfg": {**tiny_config["model_cfg"], "text_cfg": text}}
        return load("mine", config=config, pretrained=False)

    return tower, clip


def test_a_text_tower_from_a_folder_is_built(towers):
    tower, clip = towers
    model = clip(str(tower()))
    assert type(model.module.text.transformer).__name__ == "RobertaModel"
    with pytest.raises(
        CapabilityError, match=r"open_clip:mine cannot be saved: .*files of transformers \('/.*/towers/one"
    ):
        model.architecture()


@pytest.mark.parametrize(
    "keys",
    [
        {"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"},
        {"inner": [{"_attn_implementation_internal": "evil/kernel"}]},
        {"attn_implementation": "evil/kernel"},
    ],
)
def test_a_text_tower_that_runs_code_is_refused(towers, tmp_path, keys):
    tower, clip = towers
    folder = tower(**keys)
    with pytest.raises(
        ModelLoadError, match=r"towers/one/config.json has the key '.*', which makes a library run code"
    ):
        clip(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_text_tower_is_not_taken_from_the_working_directory(towers, tmp_path, monkeypatch):
    tower, clip = towers
    tower()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("./towers/one", "../x", "~/x", "/no/such", "x" * 5000, ""):
        with pytest.raises(ModelLoadError, match=r"neither a repository's name nor the whole path of a folder"):
            clip(name)
    with pytest.raises(ModelNotFoundError, match=r"the text tower's configuration of .* repository towers/one"):
        clip("towers/one")


def in_the_cache(cache, repository, files):
    """A snapshot of a repository in a hub's cache, of files from a folder."""
    place = cache / f"models--{repository.replace('/', '--')}"
    folder = place / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    return folder


def test_a_public_tokenizer_that_is_here_is_used_and_one_that_is_here_in_part_is_not(
    siglip, siglip_folder, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    again = load("mine", config=siglip._blueprint.config, pretrained=False)
    again.module.load_state_dict(siglip.module.state_dict())
    folder = in_the_cache(tmp_path, "nobody/has-this-repository", siglip_folder.glob("tokenizer*"))
    (folder / "tokenizer.json").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelNotFoundError, match=r"the tokenizer of .*forbids"):
        again.text_features(TEXTS)
    (tmp_path / "elsewhere").rename(folder / "tokenizer.json")
    torch.testing.assert_close(again.text_features(TEXTS), siglip.text_features(TEXTS), rtol=0, atol=0)


def test_a_tokenizer_that_runs_code_is_refused(siglip_folder, tmp_path):
    settings = json.loads((siglip_folder / "tokenizer_config.json").read_text())
    evil = json.dumps({**settings, "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}).encode()
    folder = broken(siglip_folder, **{"tokenizer_config.json": evil})(tmp_path / "clip")
    with pytest.raises(ModelLoadError, match=r"tokenizer_config.json has the key 'auto_map'"):
        embed_texts("cat", model=load(folder))


def test_a_folder_without_its_tokenizer_says_so(siglip_folder, tmp_path):
    gone = {p.name: None for p in siglip_folder.iterdir() if p.name not in (CONFIG, WEIGHTS)}
    folder = broken(siglip_folder, **gone)(tmp_path / "clip")
    with pytest.raises(ModelLoadError, match=r"the folder has no tokenizer, such as tokenizer.json"):
        load(folder)
    folder = broken(siglip_folder, **{**gone, "tokenizer.json": b"{}"})(tmp_path / "broken")
    with pytest.raises(ModelLoadError, match=r"the tokenizer cannot be loaded"):
        embed_texts("cat", model=load(folder))


def test_a_public_tokenizer_is_not_fetched_offline(siglip, monkeypatch, tmp_path, cat):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    again = load("mine", config=siglip._blueprint.config, pretrained=False)
    assert embed(cat, model=again).vectors.shape == (1, 32)
    with pytest.raises(ModelNotFoundError, match=r"the tokenizer of .*forbids.*repository nobody/has-this-repository"):
        again.text_features(TEXTS)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("preprocess_cfg", {"resize_mode": "longest"}, r"with 0 \(resize_mode 'longest'\); only 114 is offered"),
        ("preprocess_cfg", {"resize_mode": "tallest"}, r"resize_mode 'tallest'; offered are shortest, squash, longest"),
        ("preprocess_cfg", {"mode": "L"}, r"pictures of mode 'L'; only RGB is offered"),
        ("preprocess_cfg", {"mean": [0.5]}, r"'preprocess_cfg' cannot be used: mean=.* must be three numbers"),
        ("preprocess_cfg", {"std": "wide"}, r"'preprocess_cfg' cannot be used \(ValueError"),
        ("vision_cfg", {"image_size": [64, 32]}, r"the short side resized to 32×64; only squares are offered so"),
        ("vision_cfg", {"wings": 2}, r"open_clip cannot build a CLIP of its configuration \(TypeError: .*wings"),
    ],
)
def test_what_cannot_be_said_in_our_terms_is_refused(part, change, message, tiny_config):
    (tiny_config if part in tiny_config else tiny_config["model_cfg"])[part] |= change
    with pytest.raises(ModelLoadError, match=message):
        load("mine", config=tiny_config, pretrained=False)


def test_longest_with_our_grey_is_letterbox(tiny_config):
    tiny_config["preprocess_cfg"] |= {"resize_mode": "longest", "fill_color": 114}
    assert load("mine", config=tiny_config, pretrained=False).preprocess.resize == "letterbox"


def test_a_configuration_that_is_no_json_or_maps_nothing(tiny_config):
    with pytest.raises(ModelLoadError, match=r"the configuration is not of JSON values"):
        load("mine", config={**tiny_config, "extra": object()}, pretrained=False)
    with pytest.raises(ModelLoadError, match=r"'preprocess_cfg' of the configuration must map names to values"):
        load("mine", config={**tiny_config, "preprocess_cfg": [1]}, pretrained=False)


def test_loading_leaves_the_process_as_it_was(tiny_folder):
    before = (list(logging.root.handlers), torch.get_num_threads(), torch.initial_seed())
    load(tiny_folder).text_features(TEXTS)
    assert (list(logging.root.handlers), torch.get_num_threads(), torch.initial_seed()) == before


def test_without_open_clip_the_error_has_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError) as caught:
        vk.classify("cat.jpg", ["cat", "dog"])
    assert str(caught.value) == (
        "this needs the package 'open_clip', which is not installed: pip install 'visionkit-py[clip]'"
    )
    assert issubclass(MissingExtraError, ImportError)


def test_names_and_tasks_import_neither_open_clip_nor_torch():
    script = (
        "import sys, visionkit.tasks.embed, visionkit.tasks.embed_texts, visionkit.tasks.similarity\n"
        "import visionkit.tasks.zero_shot\n"
        "print([m for m in ('torch', 'open_clip', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert find_backend("open_clip", "embed_texts").loader == "visionkit.clip.open_clip_models:load"


def test_plain_features_are_the_features_and_gradients_flow(tiny, cat):
    batch = next(vk.Batches([cat], tiny.preprocess, device="cpu"))
    pixels = batch.pixels.clone().requires_grad_()
    features = tiny.plain_features(pixels)
    torch.testing.assert_close(features.detach(), tiny.image_features(batch).clone(), atol=1e-5, rtol=0)
    assert torch.autograd.grad(features.sum(), pixels)[0].abs().sum() > 0
