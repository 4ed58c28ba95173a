from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

import visionkit as vk
from visionkit.errors import CapabilityError, InputError, ModelNotFoundError, RegistryError
from visionkit.models import Backend, list_models, registry
from visionkit.models.registry import BUILT_IN, backends, find_backend, merge


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timn:resnet50", r"'timn' is no registered prefix; did you mean timm:…\?"),
        ("zzzz:x", r"'zzzz' is no registered prefix \(known: visionkit, torchvision, timm"),
        ("efficientnet_lit0", r"did you mean 'visionkit:efficientnet_lite0'\?"),
        ("resnet50", r"no folder, and has no prefix such as 'timm:'; did you mean '(torchvision|timm):resnet50"),
        ("visionkit:", r"a name must follow the colon"),
        ("nowhere/at/all", r"it is no folder"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ModelNotFoundError, match=message):
        vk.load_model(name)


def test_unknown_option_lists_the_known():
    with pytest.raises(InputError, match=r"do not take the option 'pretraned'; they take: pretrained, num_classes"):
        vk.load_model("torchvision:resnet18", pretraned=False)


def test_hosted_models_take_no_device():
    with pytest.raises(InputError, match="openai: models are hosted and take neither device= nor speed="):
        vk.load_model("openai:gpt-6-luna", device="cpu", api_key="x")


def test_task_that_a_prefix_does_not_do():
    with pytest.raises(CapabilityError, match="'timm:resnet18' cannot generate: timm: models do classify, embed"):
        vk.load_model("timm:resnet18", task="generate")


def test_names_and_options_that_are_none(tmp_path):
    with pytest.raises(InputError, match="a model's name is a string or a folder's path, not int"):
        vk.load_model(3)
    with pytest.raises(InputError, match="a saved folder does not take the option 'pretrained'; it takes: module"):
        vk.load_model(tmp_path, pretrained=False)


def test_unknown_speed_and_device():
    with pytest.raises(InputError, match="speed 'warp' is not offered; choose one of 'default', 'exact'"):
        vk.load_model("visionkit:efficientnet_lite0", speed="warp")
    with pytest.raises(InputError, match="device 'gpu' is none"):
        vk.load_model("visionkit:efficientnet_lite0", device="gpu")


def test_each_load_is_a_fresh_object_and_verbs_share_one():
    first = vk.load_model("visionkit:simple_cnn")
    assert vk.load_model("visionkit:simple_cnn") is not first
    vk.clear_models()
    shared = vk.models.load_cached("visionkit:simple_cnn", task="classify")
    assert vk.models.load_cached("visionkit:simple_cnn", task="embed") is shared
    vk.clear_models()
    assert vk.models.load_cached("visionkit:simple_cnn", task="classify") is not shared


def test_the_cache_is_bounded():
    vk.clear_models()
    first = vk.models.load_cached("visionkit:simple_cnn", task="classify")
    for size in range(4):
        vk.models.load_cached("visionkit:simple_cnn", task="classify", speed="exact", device=f"cpu:{size}")
    assert vk.models.load_cached("visionkit:simple_cnn", task="classify") is not first
    vk.clear_models()


def test_plug_in_is_found_and_listed():
    assert find_backend("colors").loader == "visionkit_colors_model:load"
    assert "colors:…" in [entry.name for entry in list_models("classify")]
    assert "colors:…" not in [entry.name for entry in list_models("generate")]
    assert vk.load_model("colors:mean").labels == ("red", "green", "blue")


def test_what_only_saved_folders_name_is_not_listed():
    assert not {"head:…", "wrapped:…"} & {entry.name for entry in list_models()}


def test_a_taken_pair_is_an_error():
    with pytest.raises(RegistryError, match="package 'evil' registers 'timm' for 'classify', which visionkit has"):
        merge(BUILT_IN, [("package 'evil'", Backend("timm", ("classify",), "evil:load"))])
    other = ("package 'a'", Backend("mine", ("embed",), "a:load"))
    with pytest.raises(RegistryError, match="package 'b' registers 'mine' for 'embed', which package 'a' has"):
        merge(BUILT_IN, [other, ("package 'b'", Backend("mine", ("embed",), "b:load"))])


def test_a_free_capability_of_a_prefix_may_be_added(monkeypatch):
    extra = Backend("timm", ("detect",), "more:load")
    monkeypatch.setattr(registry, "backends", lambda: merge(BUILT_IN, [("package 'more'", extra)]))
    assert find_backend("timm", "detect") is extra
    assert find_backend("timm", "embed") in BUILT_IN
    assert find_backend("timm") in BUILT_IN


def test_the_same_package_may_not_repeat_a_pair():
    record = Backend("mine", ("embed",), "a:load")
    with pytest.raises(RegistryError, match="package 'a' registers 'mine' for 'embed', which package 'a' has already"):
        merge(BUILT_IN, [("package 'a'", record), ("package 'a'", record)])


def test_a_broken_plug_in_is_named():
    entry = EntryPoint("x", "nowhere_at_all:BACKEND", "visionkit.backends")
    with pytest.raises(RegistryError, match="the entry point 'x' is broken: ModuleNotFoundError: No module named"):
        registry._records(entry)
    no_record = EntryPoint("x", "visionkit.models.catalog:CATALOG", "visionkit.backends")
    with pytest.raises(RegistryError, match="is no Backend, nor several"):
        registry._records(no_record)


def test_hosted_and_text_models_are_listed_for_what_is_derived():
    listed = [entry.name for entry in list_models("classify")]
    assert "openai:…" in listed
    assert "diffusers:…" not in listed


def test_malformed_prefix():
    with pytest.raises(RegistryError, match="malformed prefix 'My Models'"):
        merge(BUILT_IN, [("package 'a'", Backend("My Models", ("embed",), "a:load"))])


def test_built_in_pairs_are_unique_and_their_loaders_exist():
    pairs = [(backend.prefix, capability) for backend in BUILT_IN for capability in backend.capabilities]
    assert len(pairs) == len(set(pairs))
    for backend in backends():
        assert callable(backend.load()), backend.prefix


def test_every_listed_model_says_whether_it_is_here():
    from visionkit.models.catalog import is_here

    here = {entry.name: is_here(entry) for entry in list_models()}
    assert here["visionkit:efficientnet_lite0"] is True
    assert here["visionkit:simple_cnn"] is True
    assert here["openai:…"] is None


def test_a_saved_model_that_was_saved_again_is_loaded_again(tmp_path, monkeypatch, cat):
    def save(folder, label):
        model = vk.load_model("visionkit:simple_cnn", num_classes=1)
        model.labels = (label,)
        vk.save_model(model, folder)

    save(tmp_path / "m", "first")
    assert vk.classify(cat, model=tmp_path / "m").label == "first"
    save(tmp_path / "m", "second")
    assert vk.classify(cat, model=tmp_path / "m").label == "second"
    save(tmp_path / "other" / "m", "third")
    monkeypatch.chdir(tmp_path)
    assert vk.classify(cat, model="m").label == "second"
    monkeypatch.chdir(tmp_path / "other")
    assert vk.classify(cat, model="m").label == "third"
    vk.clear_models()
