"""The page around a report: its style, light and dark, wide and narrow, and a policy that lets nothing run or load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..results import charts, html

_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE: Final = """
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--quiet:#656d76;--line:#d0d7de;--soft:#f6f8fa;
--c0:#3b6fb0;--c1:#d9730d;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#15181c;--text:#e6e8ea;--quiet:#9aa4ae;--line:#3a4149;--soft:#1f242a;
--c0:#7aaee8;--c1:#f0a35e;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1000px;padding:16px;background:var(--page);color:var(--text);
font:15px/1.55 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:26px;margin:8px 0}h2{font-size:19px;margin:36px 0 8px;border-top:1px solid var(--line);padding-top:14px}
h3{font-size:15px;margin:12px 0 4px}p{margin:6px 0;max-width:70ch}.quiet{color:var(--quiet)}.bad{color:var(--bad)}
.wide{overflow-x:auto}.row{display:flex;flex-wrap:wrap;gap:16px}.row>div{flex:1 1 260px;min-width:0}
.figures{display:flex;flex-wrap:wrap;gap:10px;margin:14px 0}.figures>div{flex:1 1 130px;padding:10px 12px;
background:var(--soft);border-radius:8px}.figures b{display:block;font-size:22px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:4px 10px 4px 0;text-align:left;
vertical-align:top;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right;overflow-wrap:normal}
.grid td,.grid th{padding:4px 6px;text-align:center;border:1px solid var(--line);overflow-wrap:normal}
.grid th:first-child{text-align:left;min-width:90px;overflow-wrap:anywhere}
.shots{display:flex;flex-wrap:wrap;gap:6px}.shots img{width:64px;height:64px;object-fit:contain;background:var(--soft)}
.worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:16px}
.worst figure{margin:0;min-width:0}.worst div{display:flex;gap:4px}.worst img{flex:1 1 0;min-width:0;width:100%;
aspect-ratio:1;object-fit:contain;background:var(--soft)}figcaption{font-size:13px}
th{overflow-wrap:normal}@media (max-width:600px){.shots img{width:40px;height:40px}td,th{padding-right:8px}}
summary{cursor:pointer;padding:6px 0}
"""


def page(title: str, body: str) -> str:
    """A whole HTML document, complete in itself.

    Args:
        title: text.
        body: HTML, escaped already.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.text(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f'<link rel="icon" href="data:,"><title>{html.text(title)}</title>'
        f"<style>{_STYLE}{charts.STYLE}</style></head>\n<body>\n<main>\n{body}\n</main>\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading with what belongs to it; nothing where there is nothing."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{html.text(title)}</h2>\n{body}</section>\n" if body else ""


def words(text: str, kind: str = "") -> str:
    """A paragraph."""
    return f'<p class="{kind}">{html.text(text)}</p>' if kind else f"<p>{html.text(text)}</p>"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numbers: frozenset[int] = frozenset()) -> str:
    """A table that can be moved sideways where it is too wide.

    Args:
        head: names of the columns.
        rows: of HTML, escaped already.
        numbers: columns that stand to the right.
    """

    def cells(tag: str, row: tuple[str, ...]) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>' if i in numbers else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(row)
        )

    top = cells("th", tuple(html.text(name) for name in head))
    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><tr>{top}</tr>\n{body}</table></div>'
