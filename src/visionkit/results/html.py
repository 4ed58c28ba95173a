"""Results as HTML for notebooks: every text escaped, no script, nothing from elsewhere; legible without the styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from ..images.sources import printable
from ..images.thumbnails import thumbnail_uri

THUMBNAIL: Final = 160
"""The longer side, in pixels, of a picture beside an answer."""

SHOWN: Final = 1024
"""The longer side of a picture that is the answer."""

_CARD: Final = (
    "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;max-width:720px;margin:4px 0;"
    "font:13px/1.45 system-ui,sans-serif"
)
_NAME: Final = 40  # characters of a file name below a small picture
_ROW: Final = "display:flex;flex-wrap:wrap;gap:0 8px;align-items:center"
_BAR: Final = "height:10px;border-radius:2px;background:#4c78a8"
_RANGE: Final = "position:absolute;height:10px;border-radius:2px;background:#9ecae9"
_MARK: Final = "position:absolute;width:2px;height:10px;margin-left:-1px;background:#24507f"
_TRACK: Final = "flex:1 1 80px;height:10px;border-radius:2px;background:rgba(128,128,128,.2)"


def text(value: object) -> str:
    """A value as text for HTML, on one line: marks escaped, control and direction characters shown."""
    return escape(printable(str(value)))


def paragraph(value: str) -> str:
    """A text of several lines."""
    lines = "\n".join(escape(printable(line)) for line in value.expandtabs().splitlines())
    return f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{lines}</div>'


def card(picture: str, *parts: str) -> str:
    """What a result shows: a picture, where there is one, and what is said beside it, or below where it is narrow."""
    body = f'<div style="flex:1 1 260px;min-width:0;overflow-wrap:anywhere">{"".join(parts)}</div>'
    return f'<div style="{_CARD}">{picture}{body}</div>'


def title(value: str) -> str:
    """The line that stands above the rest."""
    return f"<div><strong>{text(value)}</strong></div>"


def note(*values: object) -> str:
    """A small line: source, model, and the like."""
    return f'<div style="opacity:.7;font-size:12px">{" · ".join(text(value) for value in values)}</div>'


def warning(value: str) -> str:
    """A line that says what went wrong."""
    return f'<div style="color:#d62728">{text(value)}</div>'


def image(uri: str, alt: str) -> str:
    """A picture at its own size, or as wide as there is room."""
    return f'<img src="{escape(uri)}" alt="{text(alt)}" style="max-width:100%;height:auto;margin:0">'


def thumbnail(source: str, side: int = THUMBNAIL) -> str:
    """The picture of a local file, read again; nothing when it cannot be."""
    uri = thumbnail_uri(source, side)
    return image(uri, source) if uri else ""


def figure(source: str) -> str:
    """A small picture, where there is one, with its name below."""
    small = thumbnail(source, 96)
    name = source.rpartition("/")[2] if small else source
    name = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
    return f'<div style="width:96px;overflow-wrap:anywhere">{small}{note(name)}</div>'


def strip(figures: str) -> str:
    """Small pictures side by side."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{figures}</div>'


def bars(rows: Iterable[tuple[str, float, str]]) -> str:
    """A bar for each (label, part of the whole in 0–1, what to write behind it)."""
    return "".join(
        f'<div style="{_ROW}"><span style="flex:0 1 150px;min-width:80px">{text(label)}</span> '
        f'<span style="{_TRACK}"><span style="display:block;width:{_percent(part)};{_BAR}"></span></span> '
        f'<span style="flex:0 0 56px;text-align:right">{text(shown)}</span></div>'
        for label, part, shown in rows
    )


def ranges(rows: Iterable[tuple[str, float, float, float, str]]) -> str:
    """A mark on its range for each (label, value, low and high in 0–1, what to write behind it)."""
    return "".join(
        f'<div style="{_ROW}"><span style="flex:0 1 150px;min-width:80px">{text(label)}</span> '
        f'<span style="{_TRACK};position:relative"><span style="{_RANGE};left:{_percent(low)};'
        f'width:{_percent(high - low)}"></span><span style="{_MARK};left:{_percent(value)}"></span></span> '
        f'<span style="flex:0 0 150px;text-align:right">{text(shown)}</span></div>'
        for label, value, low, high, shown in rows
    )


def _percent(part: float) -> str:
    return f"{100 * min(1.0, max(0.0, part)):.1f}%" if part == part else "0%"  # noqa: PLR0124 - NaN is not itself


def listed(values: Sequence[str], limit: int) -> str:
    """The first of several texts, one a line, and how many more there are."""
    more = [f"… {len(values) - limit} more"] if len(values) > limit else []
    return "".join(f"<div>{text(value)}</div>" for value in [*values[:limit], *more])
