"""What README and documentation show is true: their blocks run, and print what stands below them.

A block of Python or of the command line is run; the `text` block that follows it is what it prints, numbers to 0.02.
`<!-- no-run -->` before a block says that it needs a download, a key or files of the reader: it is only compiled, and
its names are checked.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

import visionkit as vk
from support import commands
from visionkit import pipeline, results, testing
from visionkit.models import protocols
from visionkit.models.registry import find_backend

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
CHECKED = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
PLUGIN = ROOT / "tests" / "plugin"
FENCE = re.compile(r"^(?P<mark><!-- no-run -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Block:
    language: str
    body: str
    line: int
    runs: bool


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["body"], text.count("\n", 0, m.start("body")), m["mark"] is None)
        for m in FENCE.finditer(text)
    ]


def command(line: str, page: Path) -> str:
    """What the command prints: the README's, which is everybody's first, in a process of its own."""
    run = commands.run_alone if page == README else commands.run
    done = run(*shlex.split(line)[1:])
    assert done.returncode in (0, 1), f"{line}: {done.stderr}"
    return done.stdout + done.stderr


def same(shown: str, printed: str) -> bool:
    """Equal, but for numbers with a decimal point: to 0.02, percentages to 2."""
    if NUMBER.sub("#", shown.strip()) != NUMBER.sub("#", printed.strip()):
        return False
    percent = ["%" in shown.strip()[m.end() : m.end() + 1] for m in NUMBER.finditer(shown.strip())]
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), percent, strict=True)
    return all(abs(float(a) - float(b)) <= (2.0 if p else 0.02) for a, b, p in pairs)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = [pytest.param(page, marks=pytest.mark.slow) if page.stem == "recipes" else page for page in PAGES]


@pytest.mark.parametrize("page", RUN, ids=lambda p: p.stem)
def test_blocks_run_and_print_what_is_shown(page, folder):
    names: dict[str, object] = {"__name__": "__main__"}
    printed = None
    for block in blocks_of(page):
        where = f"{page.name}:{block.line}"
        if block.language == "text":
            if printed is not None and not same(block.body, printed):
                pytest.fail(f"{where} shows\n{block.body}\nbut it prints\n{printed}", pytrace=False)
            printed = None
            continue
        printed = None
        if block.language == "python" and block.runs:
            code = compile("\n" * block.line + block.body, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)  # noqa: S102 - our own pages, as a reader would
            printed = out.getvalue()
        elif block.language == "sh" and block.runs:
            lines = [part.strip() for line in block.body.splitlines() for part in line.split("&&")]
            printed = "".join(command(line, page) for line in lines if line.startswith("visionkit "))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_blocks_that_do_not_run_compile(page):
    for block in blocks_of(page):
        if block.language == "python":
            ast.parse(block.body)


@pytest.mark.parametrize("page", CHECKED, ids=lambda p: p.stem)
def test_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\bvk\.([A-Za-z_]\w*)", text):
        assert name in vk.__all__, f"{page.name} speaks of vk.{name}"
    for prefix in re.findall(r"""model(?:=|\()["']([a-z][\w-]*):""", text):
        assert prefix in ("backend", "colors") or find_backend(prefix) is not None, (
            f"{page.name} names a model {prefix}:"
        )
    for path in re.findall(r"`((?:src|tests|benchmarks|docs|examples)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{page.name} speaks of {path}"


@pytest.mark.parametrize("page", CHECKED, ids=lambda p: p.stem)
def test_extras_exist(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"(?:visionkit-py|\.)\[([\w,-]+)\]", page.read_text(encoding="utf-8")):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), f"{page.name} names [{extras}]"


def test_readme_opens_with_one_command_and_its_answer():
    first, answer, *_ = blocks_of(README)
    assert first.body == "pip install . && visionkit classify examples/images/cat.jpg\n"
    assert answer.language == "text"
    best = [line.split("  ")[1] for line in answer.body.splitlines()[1:4]]
    assert sorted(best) == ["Egyptian cat", "tabby", "tiger cat"]


def test_every_public_name_is_in_the_reference():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    last = {name.rpartition(".")[2] for name in listed}
    assert {*vk.__all__, *results.__all__, *pipeline.__all__} <= last
    assert {
        name for name, value in vars(protocols).items() if getattr(value, "__module__", "") == protocols.__name__
    } <= last
    assert {name for name in vars(testing) if name.startswith("Fake")} <= last
    for name in listed:  # each is where the page says
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


def test_the_plugin_that_is_shown_is_the_one_that_is_tested():
    page = (ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")
    for file in ("visionkit_colors.py", "visionkit_colors_model.py", "pyproject.toml"):
        assert (PLUGIN / file).read_text(encoding="utf-8").strip() in page, f"the page shows another {file}"
