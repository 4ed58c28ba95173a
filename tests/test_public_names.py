"""The public names: frozen, lazy, and the same object however they are reached."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import visionkit as vk

NAMES = [
    "Batches",
    "Failure",
    "Preprocess",
    "VisionkitError",
    "ask",
    "classify",
    "clear_models",
    "detect",
    "embed",
    "embed_texts",
    "evaluate",
    "explain",
    "export_model",
    "find_images",
    "fine_tune",
    "generate",
    "list_models",
    "load_image",
    "load_model",
    "save_model",
    "save_results",
    "show_activations",
    "show_augmentation",
    "show_filters",
    "similarity",
    "to_image",
    "to_pandas",
    "to_tensor",
    "top_patches",
    "train",
    "verify",
    "wrap_model",
]


def test_all_is_frozen():
    assert sorted(vk.__all__) == NAMES
    assert set(NAMES) <= set(dir(vk))
    assert sorted(vk._HOME) == NAMES


def test_names_are_the_same_object_at_every_access():
    first = {name: getattr(vk, name) for name in NAMES}
    for module in pkgutil.walk_packages(vk.__path__, "visionkit."):
        importlib.import_module(module.name)
    for name in NAMES:
        assert getattr(vk, name) is first[name], name
        assert callable(first[name])
        assert first[name].__doc__, name


def test_no_name_is_also_a_module():
    modules = {module.name for module in pkgutil.iter_modules(vk.__path__)}
    assert not modules & set(NAMES)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'visionkit' has no attribute 'clasify'"):
        _ = vk.clasify


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


LOADED = "import sys; print(sorted({m.partition('.')[0] for m in sys.modules} & set(%r)))"


def test_import_is_light():
    heavy = ["torch", "PIL", "numpy", "pydantic", "torchvision", "httpx2", "typer"]
    assert run("import visionkit; " + LOADED % heavy) == "[]"


@pytest.mark.parametrize(
    "code",
    [
        "import numpy, visionkit as vk; vk.load_image(numpy.zeros((2, 2), 'uint8'))",
        "import visionkit as vk; vk.ask",
        "import visionkit.images, visionkit.results, visionkit.testing, visionkit.models, visionkit.models.protocols",
        "import visionkit.tasks.classify, visionkit.tasks.detect, visionkit.tasks.embed, visionkit.tasks.generate",
        "import visionkit.providers.openai_responses, visionkit.providers.anthropic_messages",
        "import visionkit as vk; vk.find_images('.'); vk.list_models()",
    ],
)
def test_no_torch_where_none_is_needed(code):
    assert run(f"{code}; {LOADED % ['torch', 'torchvision']}") == "[]"


def test_import_changes_nothing_of_the_process():
    code = (
        "import logging, warnings, os, random, numpy, PIL.Image\n"
        "before = (list(logging.getLogger().handlers), list(warnings.filters), dict(os.environ), random.getstate())\n"
        "import visionkit as vk\n"
        "vk.load_image(numpy.zeros((2, 2), 'uint8'))\n"
        "after = (list(logging.getLogger().handlers), list(warnings.filters), dict(os.environ), random.getstate())\n"
        "print(before == after)"
    )
    assert run(code) == "True"
