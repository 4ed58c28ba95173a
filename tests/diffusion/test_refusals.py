"""What is refused, by which error, in which words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

import visionkit as vk
from visionkit.diffusion.sources import check_index
from visionkit.errors import (
    CapabilityError,
    ImageDecodeError,
    InputError,
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    SourceError,
)
from visionkit.images import contact_sheet, write_png
from visionkit.results import Recipe
from visionkit.tasks.generate import generate

ARGUMENTS = [
    ({"prompt": ""}, "the prompt '' is empty: say what the picture shall show"),
    ({"prompt": " \n"}, "the prompt ' \\n' is empty"),
    ({"prompt": b"cat"}, "prompt must be a string, not <3 bytes>"),
    ({"prompt": [5]}, "prompt must be a string, not <int>"),
    ({"prompt": 5}, "<int> is no input: give one, or a list, tuple or iterator"),
    ({"prompt": "\ud800"}, "prompt '\\ud800' is no text: it has half of a surrogate pair"),
    ({"negative_prompt": 3}, "negative_prompt must be a string, not <int>"),
    ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
    ({"steps": 2.5}, "steps=2.5 must be a whole number of at least 1"),
    ({"guidance_scale": -1}, "guidance_scale=-1 must be a finite number of at least 0"),
    ({"guidance_scale": float("nan")}, "guidance_scale=nan must be a finite number of at least 0"),
    ({"guidance_scale": "7"}, "guidance_scale='7' must be a number of at least 0"),
    ({"size_wh": 64}, "size_wh=64 must be two numbers, width and height"),
    ({"size_wh": (64, 0)}, "the height of size_wh=0 must be a whole number of at least 1"),
    ({"size_wh": (30, 3)}, "makes widths and heights that are multiples of 8; the nearest is (32, 8)"),
    ({"seed": -1}, "seed=-1 must be a whole number from 0 to 9223372036854775807"),
    ({"seed": True}, "seed=True must be a whole number from 0"),
    ({"seed": 2**63 - 1, "n": 2}, "must be a whole number from 0 to 9223372036854775806"),
    ({"n": 0}, "n=0 must be a whole number of at least 1"),
    ({"on_error": "skip"}, "on_error='skip' must be 'raise' or 'return'"),
    ({"speed": "warp"}, "speed 'warp' is not offered; choose one of 'default', 'exact'"),
]


@pytest.mark.parametrize(("changed", "message"), ARGUMENTS)
def test_arguments(diffusion_folder, changed, message):
    arguments = {"prompt": "cat", "model": f"diffusers:{diffusion_folder}", "steps": 1, "seed": 0, **changed}
    with pytest.raises(InputError, match=re.escape(message)):
        generate(**arguments)


def test_arguments_are_refused_at_the_call_before_a_prompt_is_read(consistency_folder):
    for changed in ({"steps": 0}, {"size_wh": (30, 30)}, {"negative_prompt": "dog"}):
        with pytest.raises(InputError):
            generate(iter(()), model=f"diffusers:{consistency_folder}", **changed)


def test_largest_seed_and_numpy_numbers_are_taken(diffusion_folder):
    arguments = {"model": f"diffusers:{diffusion_folder}", "steps": np.int64(1), "guidance_scale": np.float32(2)}
    assert generate("cat", seed=2**63 - 1, size_wh=[np.int64(8), 8], **arguments)[0].recipe.seed == 2**63 - 1


def test_no_model():
    with pytest.raises(InputError, match=re.escape("generate has no default model: give model=")):
        generate("cat")


def test_an_option_that_the_pipeline_lacks(consistency_folder):
    message = (
        "negative_prompt='dog' does not go with diffusers:{}: a LatentConsistencyModelPipeline does not use it; "
        "of these options it takes: steps, guidance_scale, size_wh"
    )
    with pytest.raises(InputError, match=re.escape(message.format(consistency_folder))):
        generate("cat", model=f"diffusers:{consistency_folder}", negative_prompt="dog")


def test_a_setting_that_the_pipeline_itself_refuses(consistency_folder):
    model = vk.load_model(f"diffusers:{consistency_folder}", device="cpu")
    with pytest.raises(InputError, match=re.escape("(LatentConsistencyModelPipeline) refuses these settings: ")):
        generate("cat", model=model, steps=51)  # of the 50 that its scheduler was made for


def test_models_of_other_kinds(diffusion_folder):
    with pytest.raises(CapabilityError, match="cannot generate"):
        generate("cat", model="visionkit:simple_cnn")
    with pytest.raises(CapabilityError, match="visionkit:simple_cnn cannot generate pictures"):
        generate("cat", model=vk.load_model("visionkit:simple_cnn"))
    with pytest.raises(CapabilityError, match="cannot classify"):
        vk.classify(np.zeros((8, 8, 3), np.uint8), model=f"diffusers:{diffusion_folder}")
    with pytest.raises(InputError, match="a model object has its own"):
        generate("cat", model=vk.load_model(f"diffusers:{diffusion_folder}"), device="cpu")
    with pytest.raises(InputError, match="do not take the option 'pretrained'; they take: none"):
        vk.load_model(f"diffusers:{diffusion_folder}", pretrained=False)


def test_a_pipeline_that_needs_no_prompt(tmp_path):
    unet = UNet2DModel(sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",),
                       up_block_types=("UpBlock2D",), layers_per_block=1, norm_num_groups=8)  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "ddpm")
    with pytest.raises(CapabilityError, match=re.escape("is a DDPMPipeline (no prompt), which does not make pictures")):
        generate("cat", model=f"diffusers:{tmp_path / 'ddpm'}")


@pytest.mark.parametrize(
    ("kind", "takes"),
    [
        ("StableDiffusionImg2ImgPipeline", "strength"),
        ("StableDiffusionInpaintPipeline", "strength, mask_image"),
        ("WanPipeline", "num_frames"),
        ("StableCascadeDecoderPipeline", "image_embeddings"),
    ],
)
def test_pipelines_for_other_things(kind, takes):
    with pytest.raises(CapabilityError, match=re.escape(f"somewhere is a {kind} ({takes})")):
        check_index({"_class_name": kind}, "somewhere")


@pytest.mark.parametrize(
    "kind", ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline",
             "Flux2Pipeline", "PixArtSigmaPipeline", "SanaPipeline", "QwenImagePipeline", "ZImagePipeline"]
)  # fmt: skip
def test_text_to_image_pipelines_pass(kind):
    check_index({"_class_name": kind, "safety_checker": [None, None], "scheduler": ["diffusers", "X"]}, "somewhere")


def broken(folder, tmp_path, **changes):
    """A copy of a pipeline's folder with another index."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, **changes}))
    return copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": ["mine", "MyPipeline"]}, "asks for a pipeline class of its own code, ['mine', 'MyPipeline']"),
        ({"_class_name": "MyPipeline"}, "the class 'MyPipeline', which diffusers "),
        ({"_class_name": "UNet2DModel"}, "the class 'UNet2DModel', which diffusers "),
        ({"_class_name": None}, "asks for a pipeline class of its own code, None"),
        ({"_class_name": "KandinskyV22CombinedPipeline"}, "loads further repositories that its README names"),
        ({"unet": ["my_unet", "MyUNet"]}, "the component 'unet' is of 'my_unet', which is neither diffusers nor tr"),
        ({"unet": ["os", "system"]}, "the component 'unet' is of 'os', which is neither"),
        ({"custom_pipelines": "x"}, "model_index.json has the key 'custom_pipelines', which makes a library run"),
        ({"custom_pipeline": "x"}, "model_index.json has the key 'custom_pipeline', which makes a library run"),
        ({"trust_remote_code": True}, "model_index.json has the key 'trust_remote_code', which makes a library run"),
        ({"unet": ["diffusers", {"_attn_implementation": "x/y"}]}, "has the key '_attn_implementation', which makes"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "model_index.json has the key 'auto_map', which makes a library run"),
    ],
)
def test_folders_that_switch_code_on(diffusion_folder, tmp_path, changes, message):
    folder = broken(diffusion_folder, tmp_path, **changes)
    for file in ("mine.py", "unet/my_unet.py", "MyPipeline.py", "x.py"):
        (folder / file).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelLoadError, match=re.escape(message)):
        vk.load_model(f"diffusers:{folder}")
    assert not (tmp_path / "ran").exists()


def test_a_component_that_switches_code_on(diffusion_folder, tmp_path):
    folder = broken(diffusion_folder, tmp_path)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(ModelLoadError, match=re.escape("text_encoder/config.json has the key 'auto_map'")):
        vk.load_model(f"diffusers:{folder}")


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation", "attn_implementation"])
def test_a_component_with_code_deep_inside(diffusion_folder, tmp_path, key):
    folder = broken(diffusion_folder, tmp_path)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "text_config": {"inner": [{key: "evil/code"}]}}))
    with pytest.raises(ModelLoadError, match=re.escape(f"text_encoder/config.json has the key {key!r}")):
        vk.load_model(f"diffusers:{folder}")


def test_an_index_that_names_weights_elsewhere(diffusion_folder, tmp_path):
    folder = broken(diffusion_folder, tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    names = dict.fromkeys(load_file(weights), "../outside.safetensors")
    weights.rename(folder / "outside.safetensors")
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(ModelLoadError, match=re.escape("index.json names the weights '../outside.safetensors'; only")):
        vk.load_model(f"diffusers:{folder}")


def test_folders_that_are_no_pipelines(diffusion_folder, tmp_path):
    with pytest.raises(ModelLoadError, match=re.escape("is no diffusers pipeline: it has no model_index.json; give")):
        vk.load_model(f"diffusers:{tmp_path}")
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"model_index\.json cannot be read as JSON"):
        vk.load_model(f"diffusers:{tmp_path}")
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(ModelLoadError, match=r"model_index\.json is no JSON object, but a list"):
        vk.load_model(f"diffusers:{tmp_path}")
    with pytest.raises(ModelLoadError, match="a folder has no revisions; leave out @main"):
        vk.load_model(f"diffusers:{diffusion_folder}@main")
    with pytest.raises(ModelNotFoundError, match="'/no/such/folder' is no folder here, and cannot be a repo"):
        vk.load_model("diffusers:/no/such/folder")


def test_a_folder_with_an_at_sign(diffusion_folder, tmp_path):
    shutil.copytree(diffusion_folder, tmp_path / "mine@home")
    made = generate("cat", model=f"diffusers:{tmp_path / 'mine@home'}", steps=1, seed=0)
    assert made.model == f"diffusers:{tmp_path / 'mine@home'}"


def test_weights_that_are_missing_or_only_pickled(diffusion_folder, tmp_path):
    folder = broken(diffusion_folder, tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelLoadError, match=re.escape(f"{folder} cannot be loaded as a diffusers pipeline: ")):
        vk.load_model(f"diffusers:{folder}")


def without(absent):
    """The message where a package is missing."""
    return f"this needs the package {absent!r}, which is not installed: pip install 'visionkit-py[diffusion]'"


@pytest.mark.parametrize("absent", ["diffusers", "transformers"])
def test_without_the_extra(absent, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError, match=re.escape(without(absent))):
        generate("cat", model="diffusers:owner/name")


@pytest.mark.slow
@pytest.mark.parametrize("absent", ["diffusers", "transformers"])
def test_without_the_extra_from_the_start(absent):
    """Diffusers itself can be imported where transformers is missing."""
    script = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Finder(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        return None if name.partition('.')[0] == {absent!r} else super().find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Finder if f is PathFinder else f for f in sys.meta_path]\n"
        "from visionkit.tasks.generate import generate\n"
        "from visionkit.errors import MissingExtraError\n"
        "try:\n"
        "    generate('cat', model='diffusers:owner/name')\n"
        "except MissingExtraError as err:\n"
        "    print(err)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == without(absent)


def test_importing_the_verb_and_its_results_loads_no_torch():
    script = "import sys, visionkit.tasks.generate; print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_saving_elsewhere(diffusion_folder, tmp_path):
    made = generate("cat", model=f"diffusers:{diffusion_folder}", steps=1, seed=0)
    for save in (made.save, made[0].save):
        with pytest.raises(InputError, match=re.escape("out.jpg: a generated picture is saved as .png")):
            save(tmp_path / "out.jpg")
        with pytest.raises(InputError, match=re.escape(f"cannot write {tmp_path}/none/out.png: No such file")):
            save(tmp_path / "none" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=re.escape(f"cannot write {tmp_path}/folder.png: Is a directory")):
        made.save(tmp_path / "folder.png")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]  # nothing half-written stays


def test_files_without_a_recipe(tmp_path):
    picture = Image.new("RGB", (4, 4))
    picture.save(tmp_path / "plain.png")
    with pytest.raises(InputError, match=re.escape("plain.png has no recipe inside: visionkit did not save it")):
        Recipe.from_png(tmp_path / "plain.png")
    picture.save(tmp_path / "photo.jpg")
    with pytest.raises(ImageDecodeError, match=re.escape("photo.jpg is a JPEG file; only a PNG file carries")):
        Recipe.from_png(tmp_path / "photo.jpg")
    with pytest.raises(SourceError, match="no such file"):
        Recipe.from_png(tmp_path / "none.png")
    write_png(picture, tmp_path / "odd.png", {"visionkit": '{"model": "x", "prompt": "y", "seed": 1}'})
    with pytest.raises(InputError, match=r"odd\.png cannot be read; a newer visionkit .*: Field required \(size_wh\)"):
        Recipe.from_png(tmp_path / "odd.png")


def test_sheets():
    small, wide = Image.new("RGB", (10, 10), "red"), Image.new("RGB", (4000, 10), "blue")
    with pytest.raises(InputError, match="needs at least one picture"):
        contact_sheet([])
    with pytest.raises(InputError, match="columns=0 must be at least 1"):
        contact_sheet([small], 0)
    alone = contact_sheet([small])
    assert alone.size == (10, 10)
    assert alone is not small
    sheet = contact_sheet([wide, small])
    assert max(sheet.size) <= 2048
    assert sheet.getpixel((sheet.width * 3 // 4, sheet.height // 2)) == (255, 0, 0)  # in the middle of its cell
