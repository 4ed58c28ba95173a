"""Charts as SVG inside a page: they scale, follow the page's colours, need no script, and no drawing library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from . import html

STYLE: Final = """
svg{display:block;width:100%;height:auto;max-width:520px}
svg.small{max-width:300px}
svg text{font:12px system-ui,sans-serif;fill:var(--quiet)}
.axis{stroke:var(--line);stroke-width:1;fill:none}
.l0,.l1{fill:none;stroke-width:2.5;stroke-linejoin:round}
.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.d0{fill:var(--c0)}.d1{fill:var(--c1)}
.ideal{stroke:var(--quiet);stroke-dasharray:4 4;fill:none}
.key{display:inline-block;width:14px;height:4px;margin:0 6px 3px 14px;border-radius:2px}
.k0{background:var(--c0)}.k1{background:var(--c1)}
"""
"""What a page must say for the charts; it sets the colours --c0, --c1, --line and --quiet."""

_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 12, 416, 196
_SIDE: Final = 200
_MOST_CELLS: Final = 200


class Bin(Protocol):
    """Answers of about the same confidence: `metrics.ReliabilityBin`."""

    @property
    def low(self) -> float:
        """The bin begins."""

    @property
    def high(self) -> float:
        """It ends."""

    @property
    def count(self) -> int:
        """Answers in it."""

    @property
    def accuracy(self) -> float:
        """The fraction that is right."""


def lines(series: Mapping[str, Sequence[float]], title: str, *, percent: bool = False) -> str:
    """Up to two curves over epochs, with a key; values that are no finite numbers leave a gap.

    Args:
        series: name → a value for each epoch.
        title: what the chart shows, for those who hear it.
        percent: the values are fractions, and are written as percentages.
    """
    finite = [v for values in series.values() for v in values if math.isfinite(v)]
    count = max((len(values) for values in series.values()), default=0)
    if not finite:
        return ""
    ticks = _ticks(min(finite), max(finite))
    low, high = ticks[0], ticks[-1]

    def place(epoch: int, value: float) -> str:
        across = 0.5 if count == 1 else epoch / (count - 1)
        return f"{_LEFT + _WIDTH * across:.1f},{_TOP + _HEIGHT * (high - value) / (high - low):.1f}"

    parts = []
    for tick in ticks:
        y = _TOP + _HEIGHT * (high - tick) / (high - low)
        written = f"{100 * tick:.4g}%" if percent else f"{tick:.4g}"
        parts.append(f'<path class="axis" d="M{_LEFT} {y:.1f}h{_WIDTH}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{written}</text>')
    for epoch in sorted({0, (count - 1) // 2, count - 1}):
        x = place(epoch, low).partition(",")[0]
        parts.append(f'<text x="{x}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{epoch + 1}</text>')
    middle = _LEFT + _WIDTH // 2
    parts.append(f'<text x="{middle}" y="{_TOP + _HEIGHT + 34}" text-anchor="middle">epoch</text>')
    for number, values in enumerate(series.values()):
        parts += _curve(number, [place(i, v) if math.isfinite(v) else None for i, v in enumerate(values)])
    keys = "".join(f'<span class="key k{i}"></span>{html.text(name)}' for i, name in enumerate(series))
    drawn = _svg(f"0 0 {_LEFT + _WIDTH + 12} {_TOP + _HEIGHT + 40}", title, parts)
    return drawn + (f"<div>{keys}</div>" if len(series) > 1 else "")


def reliability(bins: Sequence[Bin], title: str) -> str:
    """How often answers are right, over how sure they are; the broken line is where both are the same.

    Args:
        bins: the more answers one has, the stronger its bar.
        title: what the chart shows, for those who hear it.
    """
    most = max((b.count for b in bins), default=0)
    left, top = 44, 8
    parts = [f'<path class="axis" d="M{left} {top}h{_SIDE}v{_SIDE}h-{_SIDE}z"/>']
    for b in bins:
        if b.count:
            x, width, height = left + _SIDE * b.low, _SIDE * (b.high - b.low) - 1, _SIDE * b.accuracy
            strength = 0.25 + 0.75 * b.count / most
            parts.append(
                f'<rect class="d0" x="{x:.1f}" y="{top + _SIDE - height:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}" fill-opacity="{strength:.2f}"/>'
            )
    parts.append(f'<path class="ideal" d="M{left} {top + _SIDE}L{left + _SIDE} {top}"/>')
    for part in (0, 0.5, 1):
        x, y = left + _SIDE * part, top + _SIDE * (1 - part)
        parts.append(f'<text x="{x}" y="{top + _SIDE + 16}" text-anchor="middle">{part:.0%}</text>')
        parts.append(f'<text x="{left - 5}" y="{y + 4}" text-anchor="end">{part:.0%}</text>')
    parts.append(f'<text x="{left + _SIDE / 2}" y="{top + _SIDE + 32}" text-anchor="middle">confidence</text>')
    return _svg(f"0 0 {left + _SIDE + 20} {top + _SIDE + 40}", title, parts, "small")


def matrix(counts: Sequence[Sequence[int]], title: str) -> str:
    """A confusion matrix of many classes as squares: row the true class, column the answer; "" beyond 200 classes."""
    size = len(counts)
    if not 0 < size <= _MOST_CELLS:
        return ""
    side = 400 / size
    parts = [f'<path class="axis" d="M0 0h{400}v{400}h-{400}z"/>']
    for i, row in enumerate(counts):
        whole = sum(row)
        parts += [
            f'<rect class="d{int(i != j)}" x="{side * j:.1f}" y="{side * i:.1f}" width="{side:.1f}" '
            f'height="{side:.1f}" fill-opacity="{0.15 + 0.85 * count / whole:.2f}"/>'
            for j, count in enumerate(row)
            if count
        ]
    return _svg("-1 -1 402 402", title, parts)


def _curve(number: int, places: Sequence[str | None]) -> list[str]:
    """One line for each stretch without a gap; a stretch of one place is a dot."""
    parts: list[str] = []
    stretch: list[str] = []
    for place in [*places, None]:
        if place is not None:
            stretch.append(place)
            continue
        if len(stretch) == 1:
            x, y = stretch[0].split(",")
            parts.append(f'<circle class="d{number}" cx="{x}" cy="{y}" r="4"/>')
        elif stretch:
            parts.append(f'<polyline class="l{number}" points="{" ".join(stretch)}"/>')
        stretch = []
    return parts


def _svg(view: str, title: str, parts: Sequence[str], kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<svg{kind} viewBox="{view}" role="img" aria-label="{html.text(title)}">{"".join(parts)}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to eight of them, from one at or below `low` to one at or above `high`."""
    if high == low:
        low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, last + 1)]
