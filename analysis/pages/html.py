"""HTML pages that hold everything: style, figures and script inside, no request to anywhere.

Light and dark follow the reader's system; printed, a page is black on white.
"""

import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files

import pandas as pd

from analysis.blocks import Block, Bullets, Contents, Facts, Heading, Paragraph, Picture, Section, TextTable
from analysis.figures.palette import INK, PAPER

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
"""The browser itself refuses every request."""

NUMBER = re.compile(r"(?:\*\*)?[-+]?\d[\d,]*(?:\.\d+)?(?![\w.])")
"""What a cell of numbers begins with."""
LINK = re.compile(r"\[([^\]]*)\]\(([^():\s]+)\)")
"""A link to a section or to a path beside the page: no scheme, so nothing of a page leads elsewhere."""
ON_SCREEN = 1.4
"""Figures are that much larger on a page than on paper."""


def asset(name: str) -> str:
    """A file of `analysis/pages`."""
    return (files("analysis") / "pages" / name).read_text(encoding="utf-8")


def page(title: str, body: str, *, style: str = "", scripts: Iterable[str] = ()) -> str:
    """A whole page around `body`."""
    own_scripts = "".join(f"<script>{script}</script>\n" for script in scripts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{asset("style.css")}{style}</style>
</head>
<body>
{body}
{own_scripts}</body>
</html>
"""


def document(title: str, blocks: Iterable[Block]) -> str:
    """A whole page of blocks, whose tables can be sorted and whose sections fold."""
    return page(title, render(blocks), scripts=(asset("document.js"),))


def render(blocks: Iterable[Block]) -> str:
    """The main part of a page, with a list of its sections where `Contents` is, else after the first heading."""
    blocks = list(blocks)
    sections = [block.title for block in blocks if isinstance(block, Section)]
    sections = sections or [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<li><a href="#{anchor(text)}">{escape(text)}</a></li>' for text in sections)
    found = [_render(block) for block in blocks]
    marked = [i for i, block in enumerate(blocks) if isinstance(block, Contents)]
    at = marked[0] if marked else next((i + 1 for i, block in enumerate(blocks) if isinstance(block, Heading)), 0)
    contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>'
    return "\n".join(["<main>", *found[:at], contents, *found[at:], "</main>"])


def table(text: pd.DataFrame) -> str:
    """A frame of text as a table that scrolls sideways on a narrow screen; columns of numbers stand at the right."""
    rows = text.astype(str).to_numpy().tolist()
    kinds = [' class="n"' if is_numeric([row[i] for row in rows]) else "" for i in range(text.shape[1])]
    head = "".join(f'<th scope="col"{kind}>{inline(str(name))}</th>' for name, kind in zip(text, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{inline(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def is_numeric(column: list[str]) -> bool:
    """Whether a column holds numbers, with what belongs to them."""
    told = [cell for cell in column if cell not in ("", "-")]
    return bool(told) and all(NUMBER.match(cell) for cell in told)


def inline_svg(svg: str, name: str) -> str:
    """A figure as a part of a page: with ids of its own, in the page's colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    opening, rest = body.split(">", 1)
    opening = re.sub(r'\s+height="[^"]*"', "", opening)
    opening = re.sub(r'width="([\d.]+)pt"', _on_screen, opening)
    body = f"{opening}>{rest}"
    return body.replace(INK, "currentColor").replace(PAPER, "var(--page)")


def _on_screen(width: re.Match[str]) -> str:
    return f'style="max-width: {float(width[1]) * ON_SCREEN:.0f}pt" role="img"'


def anchor(text: str) -> str:
    """An id made of a heading, as GitHub makes it of one in Markdown."""
    return re.sub(r"[^a-z0-9 _-]", "", text.lower()).replace(" ", "-")


def _render(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{anchor(text)}">{inline(text)}</h{level}>'
        case Paragraph(text, lead):
            return f"<p{' class=lead' if lead else ''}>{inline(text)}</p>"
        case Bullets(sentences):
            return f'<ul class="notes">{"".join(f"<li>{inline(one)}</li>" for one in sentences)}</ul>'
        case TextTable(text):
            return table(text)
        case Picture(name, title, caption):
            caption_html = inline(" ".join(caption))
            drawn = inline_svg(block.svg.decode(), name)
            return (
                f'<figure aria-label="{escape(title)}"><div class="wide" tabindex="0">{drawn}'
                f"</div><figcaption>{caption_html}</figcaption></figure>"
            )
        case Facts(found):
            answers = "".join(f"<dt>{inline(name)}</dt><dd>{inline(text)}</dd>" for name, text in found.items())
            return f'<dl class="facts">{answers}</dl>'
        case Contents():
            return ""
        case Section(title, blocks, is_open):
            inner = "\n".join(map(_render, blocks))
            opened = " open" if is_open else ""
            return (
                f'<details id="{anchor(title)}"{opened}><summary><h2>{inline(title)}</h2></summary>\n{inner}</details>'
            )


def inline(text: str) -> str:
    """Text with code between backticks, what is best between stars, and links."""
    found = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
    found = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", found)
    return LINK.sub(r'<a href="\2">\1</a>', found)
