"""The import rule: a module imports only lower layers, or its own folder; each heavy package has one home."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "visionkit"
LAYERS = {
    "atomic": 0,
    "errors": 0,
    "extras": 0.5,  # raises errors, so stands just above them
    "log": 0,
    "progress": 0,
    "images": 1,
    "results": 2,
    "pipeline": 3,
    "models": 4,
    "training": 5,
    "testing": 5,
    "cnn": 6,
    "clip": 6,
    "diffusion": 6,
    "dense": 6,
    "providers": 6,
    "tasks": 7,
    "evaluation": 8,
    "cli": 9,
    "__init__": 9,
    "__main__": 10,
}
HOMES = {  # a heavy package → the only folders, or files, that may import it
    "PIL": {"images"},
    "h11": {"images/fetch.py"},
    "truststore": {"images/fetch.py"},
    "idna": {"images/urls.py"},
    "simplejpeg": {"images/fast.py"},
    "kornia_rs": {"images/fast.py"},
    "matplotlib": {"results/figures.py"},
    "sklearn": {"results/metrics.py", "training"},
    "safetensors": {"models"},
    "huggingface_hub": {"models"},
    "openvino": {"models/openvino.py"},
    "nncf": {"models/openvino.py"},
    "onnx": {"models"},
    "onnxruntime": {"models"},
    "onnxscript": {"models"},
    "open_clip": {"clip"},
    "diffusers": {"diffusion"},
    "timm": {"cnn"},
    "captum": {"cnn"},
    "accelerate": {"training/several.py"},
    "torchvision": {"cnn", "pipeline/augment.py"},
    "transformers": {"cnn", "clip", "dense", "diffusion"},
    "openai": {"providers"},
    "anthropic": {"providers"},
    "tqdm": {"progress"},
    "pandas": {"results/tables.py"},
    "pyarrow": {"results/saving.py", "training/manifest.py"},
    "typer": {"cli"},
}
TORCH_FROM = 3
"""The layer at which torch begins: below it, nobody imports it, not even inside a function."""

FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path):
    """(full dotted name, at the top level or not) of every import and `require`, function bodies included."""
    package = ["visionkit", *path.relative_to(SOURCE).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("require", "import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                yield first.value


def test_every_module_has_a_layer():
    assert {room(path) for path in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_down(path):
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "visionkit":
            other = parts[1] if len(parts) > 1 and parts[1] in LAYERS else "__init__"
            if other == "__init__" and name == "visionkit.__version__":
                continue
            assert other == room(path) or LAYERS[other] < LAYERS[room(path)], f"{path} imports {name}"
            continue
        homes = HOMES.get(parts[0])
        if homes is not None:
            relative = str(path.relative_to(SOURCE))
            assert room(path) in homes or relative in homes, f"{path} imports {name}, whose home is {homes}"
        if parts[0] == "torch":
            assert LAYERS[room(path)] >= TORCH_FROM, f"{path} is below the layers that know torch"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_missing_packages_are_met_in_one_place(path):
    if path.name == "extras.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            assert not {"ImportError", "ModuleNotFoundError"} & caught, (
                f"{path}:{node.lineno} catches ImportError outside extras.py"
            )


def test_no_pixels_are_touched_outside_their_two_layers():
    for path in FILES:
        if room(path) in ("images", "pipeline"):
            continue
        text = path.read_text(encoding="utf-8")
        for sign in ("0.485", ".resize(", "interpolate(", "* 255", "Image.open("):
            assert sign not in text, f"{path} has {sign!r}: pixels are handled in images/ and pipeline/"


def test_no_module_imports_itself_by_way_of_others():
    """Not even inside functions: what two modules need of each other belongs into a third."""
    modules = {".".join(["visionkit", *p.relative_to(SOURCE).with_suffix("").parts]): p for p in FILES}
    faces = {name.removesuffix(".__init__") for name in modules if name.endswith(".__init__")}
    graph = {}
    for name, path in modules.items():
        found = (n if n in modules else n.rpartition(".")[0] for n in imports_of(path))
        graph[name] = {n for n in found if n in modules and n not in faces and n != name}
    while ends := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in ends:
            del graph[name]
    assert not graph, f"imports go round among {', '.join(sorted(graph))}"
