"""Pictures held against diffusers' own, to the bit; seeds, recipes, and what comes back."""

from __future__ import annotations

import inspect
import json
import random
import re
import threading
from itertools import count

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FluxPipeline, StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

import visionkit as vk
from visionkit.diffusion.pipelines import DiffusersGenerator
from visionkit.errors import CapabilityError, Failure, InputError, ModelError
from visionkit.models.protocols import ImageGenerator
from visionkit.results import GeneratedImages, Recipe
from visionkit.tasks.generate import generate

PROMPT = "a red cat on a mat"


def name_of(folder):
    return f"diffusers:{folder}"


def pixels(picture):
    return np.asarray(picture)


def theirs(folder, prompt=PROMPT, *, seed, **arguments):
    """The picture of diffusers alone, from a fresh load of the same folder."""
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return pixels(pipeline(prompt=prompt, generator=generator, **arguments).images[0])


@pytest.mark.parametrize("size_wh", [(32, 32), (48, 24)])
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("negative_prompt", [None, "blurred dog"])
def test_pictures_equal_those_of_diffusers_to_the_bit(diffusion_folder, size_wh, guidance_scale, negative_prompt):
    ours = generate(
        PROMPT,
        model=name_of(diffusion_folder),
        negative_prompt=negative_prompt,
        steps=4,
        guidance_scale=guidance_scale,
        size_wh=size_wh,
        seed=7,
        device="cpu",
        speed="exact",
    )
    reference = theirs(
        diffusion_folder,
        seed=7,
        negative_prompt=negative_prompt,
        num_inference_steps=4,
        guidance_scale=guidance_scale,
        width=size_wh[0],
        height=size_wh[1],
    )
    assert ours[0].image.mode == "RGB"
    assert ours[0].image.size == size_wh
    assert reference.std() > 1  # a flat picture would prove nothing
    np.testing.assert_array_equal(pixels(ours[0].image), reference)


def test_each_option_changes_the_picture(diffusion_folder):
    base = {"model": name_of(diffusion_folder), "steps": 3, "guidance_scale": 7.5, "seed": 1}
    first = pixels(generate(PROMPT, **base)[0].image)
    changed = [
        {**base, "negative_prompt": "blurred dog"},
        {**base, "steps": 4},
        {**base, "guidance_scale": 3.0},
        {**base, "seed": 2},
    ]
    for arguments in changed:
        assert not np.array_equal(first, pixels(generate(PROMPT, **arguments)[0].image)), arguments
    assert not np.array_equal(first, pixels(generate("blue dog", **base)[0].image))


@pytest.mark.parametrize("kind", ["ddim", "consistency"])
def test_other_pipelines_and_schedulers_equal_diffusers_too(kind, request):
    folder = request.getfixturevalue(f"{kind}_folder")
    ours = generate(PROMPT, model=name_of(folder), steps=2, seed=3, device="cpu", speed="exact")
    np.testing.assert_array_equal(pixels(ours[0].image), theirs(folder, seed=3, num_inference_steps=2))


def test_defaults_are_the_pipelines_own_and_recorded(diffusion_folder):
    made = generate(PROMPT, model=name_of(diffusion_folder), seed=5, device="cpu", speed="exact")
    np.testing.assert_array_equal(pixels(made[0].image), theirs(diffusion_folder, seed=5))
    recipe = made[0].recipe
    assert (recipe.steps, recipe.guidance_scale, recipe.negative_prompt) == (50, 7.5, None)
    assert (recipe.size_wh, recipe.seed, recipe.prompt) == ((32, 32), 5, PROMPT)
    assert (recipe.pipeline, recipe.scheduler) == ("StableDiffusionPipeline", "PNDMScheduler")
    assert (recipe.device, recipe.speed, recipe.commit) == ("cpu", "exact", None)
    assert recipe.versions == {
        "visionkit": vk.__version__,
        "torch": torch.__version__,
        "diffusers": __import__("diffusers").__version__,
    }
    assert recipe.more == {}


def test_picture_i_is_the_one_of_seed_plus_i_alone(diffusion_folder):
    arguments = {"model": name_of(diffusion_folder), "steps": 3}
    several = generate(PROMPT, seed=10, n=3, **arguments)
    assert [image.recipe.seed for image in several] == [10, 11, 12]
    for image in several:
        alone = generate(PROMPT, seed=image.recipe.seed, **arguments)
        np.testing.assert_array_equal(pixels(image.image), pixels(alone[0].image))
    assert not np.array_equal(pixels(several[0].image), pixels(several[1].image))


def test_without_a_seed_one_is_drawn_for_each_prompt_and_recorded(diffusion_folder):
    arguments = {"model": name_of(diffusion_folder), "steps": 2}
    first, second = generate([PROMPT, PROMPT], **arguments)
    assert first[0].recipe.seed != second[0].recipe.seed
    again = generate(PROMPT, seed=second[0].recipe.seed, **arguments)
    np.testing.assert_array_equal(pixels(again[0].image), pixels(second[0].image))


def test_random_states_of_the_process_stay_untouched(diffusion_folder):
    generate(PROMPT, model=name_of(diffusion_folder), steps=2)  # loaded: building the modules is another matter
    torch_before, numpy_before, python_before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    generate(PROMPT, model=name_of(diffusion_folder), steps=2)
    assert torch.equal(torch_before, torch.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(numpy_before, np.random.get_state(), strict=True))  # noqa: NPY002
    assert python_before == random.getstate()


def test_loading_is_quiet_and_leaves_the_bars_as_they_were(diffusion_folder, capfd):
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    vk.load_model(name_of(diffusion_folder), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()
    assert transformers_logging.is_progress_bar_enabled()


def test_loading_leaves_the_random_state_alone(diffusion_folder):
    before = torch.get_rng_state()
    vk.load_model(name_of(diffusion_folder), device="cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_one_prompt_a_sequence_and_an_iterator(diffusion_folder):
    arguments = {"model": name_of(diffusion_folder), "steps": 2, "seed": 1}
    one = generate(PROMPT, **arguments)
    assert isinstance(one, GeneratedImages)
    assert one.source == PROMPT
    assert one.model == name_of(diffusion_folder)
    several = generate((PROMPT, "blue dog"), **arguments)
    assert isinstance(several, list)
    assert [r.source for r in several] == [PROMPT, "blue dog"]
    np.testing.assert_array_equal(pixels(several[0][0].image), pixels(one[0].image))
    assert generate([], **arguments) == []
    assert len(generate(np.array([PROMPT]), **arguments)) == 1

    read = []
    lazy = generate((read.append(i) or PROMPT for i in count()), **arguments)
    assert read == []
    assert next(lazy).source == PROMPT
    assert len(read) <= 2
    lazy.close()


class Careless:
    """A generator of someone else's, which says wrongly what it used."""

    name = "their:model"

    def __init__(self, made=None):
        self.made = made

    def generate_image(self, prompt, *, negative_prompt, steps, guidance_scale, size_wh, seed):
        good = vk.load_image(np.zeros((8, 8, 3), np.uint8)), {"steps": 2}
        return self.made if prompt == "bad" else good


@pytest.mark.parametrize(
    ("prompt", "count"), [(np.array("a cat"), 1), (np.array(["a cat", "a dog"]), 2), (np.array([], object), 0)]
)
def test_arrays_of_prompts(prompt, count):
    made = generate(prompt, model=Careless())
    assert [result.source for result in made] == ["a cat", "a dog"][:count]


@pytest.mark.parametrize("prompt", [None, 5, {"a cat"}, {"a cat": 1}, np.array([["a cat"]])])
def test_prompts_that_are_none(prompt):
    with pytest.raises(InputError, match="is no input: give"):
        generate(prompt, model=Careless())


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ((Image.new("RGB", (8, 8)), {"steps": 2.5}), "steps: Input should be a valid integer"),
        ((Image.new("RGB", (8, 8)), {"guidance_scale": "strong"}), "guidance_scale: Input should be a valid number"),
        ((Image.new("RGB", (8, 8)), None), "'NoneType' object"),
        ((np.zeros((8, 8, 3)), {}), "size_wh"),
        (None, "must be an iterable"),
    ],
)
def test_what_a_third_partys_generator_says_wrongly(made, reason):
    first, bad, last = generate(["cat", "bad", "dog"], model=Careless(made), on_error="return")
    assert (first.source, last.source) == ("cat", "dog")
    assert (bad.index, bad.source) == (1, "bad")
    with pytest.raises(ModelError, match=rf"^their:model: what it made cannot be used: .*{reason}"):
        raise bad.error


def test_a_bad_prompt_among_good_ones(diffusion_folder):
    arguments = {"model": name_of(diffusion_folder), "steps": 2, "seed": 1}
    good, bad, last = generate([PROMPT, " ", "dog"], on_error="return", **arguments)
    assert isinstance(bad, Failure)
    assert (bad.index, type(bad.error)) == (1, InputError)
    assert (good.source, last.source) == (PROMPT, "dog")
    with pytest.raises(InputError, match="prompt ' ' is empty") as caught:
        generate([PROMPT, " ", "dog"], **arguments)
    assert [r.source for r in caught.value.results] == [PROMPT]


def test_a_model_object_and_its_protocol(diffusion_folder):
    model = vk.load_model(name_of(diffusion_folder), device="cpu", speed="exact")
    assert isinstance(model, ImageGenerator)
    assert repr(model) == f"DiffusersGenerator({name_of(diffusion_folder)}: StableDiffusionPipeline on cpu)"
    made = generate(PROMPT, model=model, steps=2, seed=4)
    np.testing.assert_array_equal(pixels(made[0].image), theirs(diffusion_folder, seed=4, num_inference_steps=2))


def test_threads_share_a_model_without_disturbing_each_other(diffusion_folder):
    model = vk.load_model(name_of(diffusion_folder), device="cpu")
    alone = {seed: pixels(generate(PROMPT, model=model, steps=5, seed=seed)[0].image) for seed in range(4)}
    together = {}

    def work(seed):
        together[seed] = pixels(generate(PROMPT, model=model, steps=5, seed=seed)[0].image)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, picture in alone.items():
        np.testing.assert_array_equal(together[seed], picture)


def test_the_recipe_in_the_png_makes_the_picture_again(diffusion_folder, tmp_path):
    prompt = "a red cat\non a mat – ✓"
    made = generate(
        prompt,
        model=name_of(diffusion_folder),
        negative_prompt="dog",
        steps=3,
        guidance_scale=4.5,
        size_wh=(24, 40),
        seed=2**40,
        speed="exact",
    )
    (path,) = made.save(tmp_path / "out.png")
    assert path == tmp_path / "out.png"
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    np.testing.assert_array_equal(pixels(vk.load_image(path)), pixels(made[0].image))
    recipe = Recipe.from_png(path)
    assert recipe == made[0].recipe
    assert recipe.prompt == prompt
    vk.clear_models()
    again = generate(**recipe.arguments())
    assert again[0].recipe == recipe
    np.testing.assert_array_equal(pixels(again[0].image), pixels(vk.load_image(path)))
    with Image.open(path) as other:  # any program can read it
        assert json.loads(other.text["visionkit"])["seed"] == 2**40


def test_a_picture_of_a_repository_is_made_again_at_its_commit():
    plain = {"prompt": "cat", "size_wh": (8, 8), "seed": 1}
    for model in ("diffusers:owner/name", "diffusers:owner/name@v2"):
        recipe = Recipe(model=model, commit="0" * 40, **plain)
        assert recipe.arguments()["model"] == f"diffusers:owner/name@{'0' * 40}"
    assert Recipe(model="diffusers:/my/folder@home", **plain).arguments()["model"] == "diffusers:/my/folder@home"


def test_default_settings_make_it_again_too(consistency_folder):
    made = generate(PROMPT, model=name_of(consistency_folder), seed=1)
    assert made[0].recipe.negative_prompt is None
    again = generate(**made[0].recipe.arguments())
    np.testing.assert_array_equal(pixels(again[0].image), pixels(made[0].image))


def test_several_are_saved_numbered_and_shown_on_a_sheet(diffusion_folder, tmp_path):
    made = generate(PROMPT, model=name_of(diffusion_folder), steps=2, seed=3, n=3)
    paths = made.save(str(tmp_path / "out.png"))
    assert [p.name for p in paths] == ["out-0.png", "out-1.png", "out-2.png"]
    assert [Recipe.from_png(p).seed for p in paths] == [3, 4, 5]
    sheet = made.contact_sheet()
    assert (sheet.size, sheet.mode) == ((88, 88), "RGB")  # two by two of 32, with gaps of 8
    np.testing.assert_array_equal(pixels(sheet)[8:40, 48:80], pixels(made[1].image))
    np.testing.assert_array_equal(pixels(sheet)[48:80, 8:40], pixels(made[2].image))
    assert made.contact_sheet(columns=3).size == (128, 48)
    shown = vk.load_image(re.search(r'src="(data:[^"]+)"', made._repr_html_())[1])
    assert np.abs(pixels(shown).astype(int) - pixels(sheet)).mean() < 12  # a JPEG of noise


def test_the_result_is_a_sequence_prints_short_and_keeps_pixels_out_of_json(diffusion_folder):
    made = generate(PROMPT, model=name_of(diffusion_folder), steps=2, seed=3, n=2)
    assert len(made) == 2
    assert list(made) == [made[0], made[-1]]
    assert made[:1] == (made[0],)
    assert repr(made) == f"GeneratedImages(2 of 32×32, seeds 3–4: {PROMPT!r}; {name_of(diffusion_folder)})"
    assert repr(made[0]) == f"GeneratedImage(Recipe({PROMPT!r}, 32×32, seed 3; {name_of(diffusion_folder)}))"
    data = json.loads(made.model_dump_json())
    assert set(data) == {"model", "source", "images"}
    assert [set(image) for image in data["images"]] == [{"recipe", "blocked"}] * 2
    assert Recipe.model_validate(data["images"][1]["recipe"]) == made[1].recipe
    with pytest.raises(ValueError, match="frozen"):
        made.images = ()


def test_a_bar_counts_the_steps_of_all_pictures(diffusion_folder, capsys):
    arguments = {"model": name_of(diffusion_folder), "steps": 3, "seed": 0, "n": 2}
    generate(["cat", "dog"], progress=True, **arguments)
    assert "16/16" in capsys.readouterr().err  # PNDM takes one step more than it is asked for
    generate("cat", progress=False, **arguments)
    assert capsys.readouterr().err == ""


def test_a_picture_that_the_safety_checker_blocks(diffusion_folder, caplog):
    model = vk.load_model(f"diffusers:{diffusion_folder}", device="cpu")
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**tiny, "image_size": 16, "patch_size": 8}
    with torch.random.fork_rng():
        checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=tiny, vision_config=vision, projection_dim=8))
    checker.concept_embeds_weights.data.fill_(-1)  # the thresholds: every picture is above
    extractor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    model.pipeline.register_modules(safety_checker=checker.eval(), feature_extractor=extractor)
    with caplog.at_level("WARNING", "visionkit"):
        made = generate(PROMPT, model=model, steps=1, seed=8)
    assert made[0].blocked
    assert pixels(made[0].image).max() == 0
    assert "1 blocked" in repr(made)
    assert f"{model.name}: the model's safety checker blocked the picture of seed 8" in caplog.text


@pytest.mark.parametrize(("kind", "multiple"), [(FluxPipeline, 16), (StableDiffusion3Pipeline, 16)])
def test_sizes_of_pipelines_that_pack_their_latents(kind, multiple):
    parts = dict.fromkeys(inspect.signature(kind.__init__).parameters)
    parts.pop("self")
    model = DiffusersGenerator(kind(**parts), name="diffusers:x", device=torch.device("cpu"), speed="exact")
    nothing = {"negative_prompt": None, "steps": None, "guidance_scale": None}
    model.check_settings(size_wh=(multiple, 3 * multiple), **nothing)
    with pytest.raises(InputError, match=f"multiples of {multiple}; the nearest is"):
        model.check_settings(size_wh=(multiple, multiple + 8), **nothing)


def test_a_negative_prompt_that_a_pipeline_takes_only_to_ignore_it():
    parts = dict.fromkeys(inspect.signature(FluxPipeline.__init__).parameters)
    parts.pop("self")
    model = DiffusersGenerator(FluxPipeline(**parts), name="diffusers:x", device=torch.device("cpu"), speed="exact")
    with pytest.raises(InputError, match="a FluxPipeline does not use it; of these options it takes: steps, guid"):
        model.check_settings(negative_prompt="dog", steps=None, guidance_scale=None, size_wh=None)


def test_a_picture_of_numbers_that_are_none(diffusion_folder):
    model = vk.load_model(name_of(diffusion_folder), device="cpu")
    model.pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="made a picture of numbers that are none"):
        generate(PROMPT, model=model, steps=1, seed=0)


def test_a_pipeline_that_answers_without_a_picture():
    class Silent:
        def __call__(self, prompt, generator):
            return (prompt, generator)

    model = DiffusersGenerator(Silent(), name="diffusers:x", device=torch.device("cpu"), speed="exact")
    with pytest.raises(
        CapabilityError, match=re.escape("diffusers:x (Silent) answered a prompt with tuple, no picture")
    ):
        generate("cat", model=model)
