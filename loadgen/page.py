"""One HTML page of a run: its figures and its table, in one file that needs no other."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadgen.plot import svg

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; font-weight: normal; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #555; }
pre { background: #f5f5f5; padding: 1rem; overflow: auto; }
"""


def page(
    title: str, rows: Sequence[Sequence[str]], figures: Mapping[str, Any], config: Mapping[str, Any] | None = None
) -> str:
    """The page as text; `figures` maps a caption to a matplotlib Figure.

    A figure is an SVG image inside a data URL: nothing is loaded from anywhere, and no script runs.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _table(rows)]
    for caption, figure in figures.items():
        data = base64.b64encode(svg(figure).encode()).decode()
        words = html.escape(caption)
        image = f'<img alt="{words}" src="data:image/svg+xml;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{words}</figcaption></figure>")
    if config:
        parts.append(f"<h2>Configuration</h2><pre>{html.escape(json.dumps(config, indent=2))}</pre>")
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"
