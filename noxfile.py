"""Everything that is checked, as sessions: `nox --list` names them, `nox -s tests` runs one.

`tests`, `slow`, `types` and `bench` share one environment, which the session `development` makes
and keeps: with torch inside it is large, and the four want the same packages.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]

ROOT = Path(__file__).parent
CONSTRAINTS = ("-c", "constraints.txt")
EXTRAS = "timm,clip,diffusion,explain,export,openvino"  # beside the group `test`, all that the tests need
BIN = "Scripts" if os.name == "nt" else "bin"

FIRST_COMMAND = ("classify", str(ROOT / "examples" / "images" / "cat.jpg"))  # the README's first example
CATS = ("tiger cat", "Egyptian cat", "tabby")  # its first three answers, in some order


@nox.session(reuse_venv=True)
def development(session: nox.Session) -> None:
    """Make the environment that tests, slow, types and bench share; also good to work in."""
    # Editable: what is tested is the checkout as it stands (`package` tests the wheel).
    session.install(*CONSTRAINTS, "-e", f".[{EXTRAS}]", "-e", "tests/plugin", *_group("test"), *_group("types"))


@nox.session(venv_backend="none", requires=["development"])
def tests(session: nox.Session) -> None:
    """Run all tests but the slow ones. Arguments after `--` go to pytest."""
    _python(session, "-m", "pytest", "-n", "2", "-m", "not slow", *session.posargs)


@nox.session(venv_backend="none", requires=["development"])
def slow(session: nox.Session) -> None:
    """Run the slow tests; one that is skipped is a failure here."""
    command = ("-m", "pytest", "-n", "2", "-m", "slow", "-rs", *session.posargs)
    # pytest leaves with 5 when it selected nothing: fine where no test is slow, a slip where arguments chose.
    codes = (0,) if session.posargs else (0, 5)
    _python(session, *command, env={"VISIONKIT_NO_SKIPS": "1"}, success_codes=codes)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows. Arguments after `--` go to pytest."""
    # No constraints: what is not asked for directly is the newest that goes with the lowest of what is.
    session.install("--resolution", "lowest-direct", "-e", f".[{EXTRAS}]", "-e", "tests/plugin", *_group("test"))
    _check_bounds(session)
    programs = Path(session.bin)
    _python(session, "-m", "pytest", "-n", "2", "-m", "not slow", *session.posargs, programs=programs)


@nox.session
def lint(session: nox.Session) -> None:
    """Hold the code against ruff's rules and format."""
    session.install(*CONSTRAINTS, *_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(venv_backend="none", requires=["development"])
def types(session: nox.Session) -> None:
    """Check the types of src, and of tests/typing, with mypy strict."""
    _python(session, "-m", "mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link or reference is an error."""
    session.install(*CONSTRAINTS, *_group("docs"))
    # The variable silences an advertisement for a successor, not a finding.
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel into an empty environment, run the README's first example."""
    session.install(*CONSTRAINTS, *_group("package"))
    with tempfile.TemporaryDirectory(prefix="visionkit-package-") as folder:
        dist, empty, elsewhere = (Path(folder, name) for name in ("dist", "empty", "elsewhere"))
        elsewhere.mkdir()
        # sdist first and the wheel from it: what the sdist lacks, the wheel lacks too.
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(dist))
        (wheel,) = dist.glob("*.whl")
        if session.venv_backend == "uv":
            session.run("uv", "venv", "--python", "python", str(empty), external=True)
            install = ("uv", "pip", "install", "--python", str(empty))
        else:
            session.run("python", "-m", "venv", str(empty))
            install = (str(empty / BIN / "python"), "-m", "pip", "install")
        session.run(*install, "--quiet", *CONSTRAINTS, str(wheel), external=True)
        with session.chdir(elsewhere):
            answer = _command(session, empty, *FIRST_COMMAND)
            best_three = _command(session, empty, *FIRST_COMMAND, "--top-k", "3")
        session.log(answer)
        missing = [label for label in CATS if label not in best_three]
        if missing:
            session.error(f"the first three answers lack {', '.join(missing)}:\n{best_three}")


@nox.session(venv_backend="none", requires=["development"])
def bench(session: nox.Session) -> None:
    """Measure what importing costs, how fast files become batches and batches answers, and training: over an hour."""
    for name in session.posargs or ("imports", "loading", "inference", "cnn", "transfer"):
        _python(session, f"benchmarks/{name}.py", success_codes=(0, 1))  # 1: a bound was missed, said at the end


def _group(name: str) -> tuple[str, ...]:
    """The requirements of one of pyproject.toml's dependency groups."""
    return nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), name)


def _check_bounds(session: nox.Session) -> None:
    """Hold each bound against what is installed: one below it promises a version that nothing here has run with."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = [line for name in EXTRAS.split(",") for line in project["optional-dependencies"][name]]
    asked = [Requirement(line) for line in (*project["dependencies"], *extras, *_group("test"))]
    script = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found = json.loads(str(session.run("python", "-c", script, *(r.name for r in asked), silent=True)))
    for requirement in asked:
        bounds = [Version(s.version) for s in requirement.specifier if s.operator in {">=", "=="}]
        installed = Version(Version(found[requirement.name]).public)  # without "+cpu"
        if bounds != [installed]:
            session.error(f"pyproject.toml: {requirement} was tried with {installed}; make that the lower bound")


def _python(
    session: nox.Session,
    *args: str,
    env: dict[str, str] | None = None,
    success_codes: tuple[int, ...] = (0,),
    programs: Path | None = None,
) -> None:
    """Run Python in the environment of `development`, or in another's; one thread a worker and with no model hub."""
    programs = programs or session.cache_dir.parent / "development" / BIN
    session.run(
        str(programs / "python"),
        *args,
        success_codes=success_codes,
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "VISIONKIT_OFFLINE": None,  # tests set it where they mean it
            **(env or {}),
        },
    )


def _command(session: nox.Session, environment: Path, *args: str) -> str:
    """What the installed `visionkit` prints with no model hub, importing from its environment alone."""
    env = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": None, "VIRTUAL_ENV": None}
    return str(session.run(str(environment / BIN / "visionkit"), *args, env=env, silent=True, external=True))
