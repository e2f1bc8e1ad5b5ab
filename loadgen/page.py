"""One HTML page of a run: its figures and its table, in one file that needs no other."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from loadgen.plot import svg

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; font-weight: normal; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #555; }
summary { cursor: pointer; } dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
pre { background: #f5f5f5; padding: 1rem; overflow: auto; }
"""

MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "job": "one request and its answer",
        "QoE": "quality of experience: 1 for a reader who never waited for a word that was due, 0 for one who got none",
        "TTFT": "time to first token: from the moment at which the request was planned to what its reader sees first",
        "p10, p50, p99": "percentiles: p50 is the median, p99 what 99 of 100 jobs do not exceed",
        "time per output token": "from the first token to the last, over the tokens after the first",
        "goodput": "jobs a second that finished, within the limits that were asked for, if any (SLO)",
        "service difference, Jain index": "how evenly the clients were served; an index of 1 is even",
        "stall": "a silence after the first word in which a reader had nothing to read",
        "generator lag": "how late requests went out: above 10 ms the figures may be the generator's, not the server's",
    }
)


def page(
    title: str, rows: Sequence[Sequence[str]], figures: Mapping[str, Any], config: Mapping[str, Any] | None = None
) -> str:
    """The page as text; `figures` maps a caption to a matplotlib Figure.

    A figure is an SVG image inside a data URL: nothing is loaded from anywhere, and no script runs.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _table(rows), _explained()]
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


def _explained() -> str:
    """The words of the table, for who reads it for the first time; folded away."""
    words = "".join(f"<dt>{html.escape(word)}</dt><dd>{html.escape(text)}</dd>" for word, text in MEANINGS.items())
    return f"<details><summary>What the figures mean</summary><dl>{words}</dl></details>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"
