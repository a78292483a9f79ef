"""Markdown, as little of it as a report needs."""

from collections.abc import Iterable

import pandas as pd

from analysis.blocks import Block, Bullets, Contents, Facts, Heading, Paragraph, Picture, Section, TextTable


def render(blocks: Iterable[Block]) -> str:
    """A page; figures are links to `figures/`."""
    return "\n\n".join(part for part in map(_render, blocks) if part) + "\n"


def table(text: pd.DataFrame) -> str:
    """A frame of text as a Markdown table."""
    header = [str(name) for name in text.columns]
    lines = [header, ["---"] * len(header), *text.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def bullets(sentences: list[str]) -> str:
    """A list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _render(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Bullets(sentences):
            return bullets(sentences)
        case TextTable(text):
            return table(text)
        case Facts(found):
            return bullets([f"{name}: {text}" for name, text in found.items()])
        case Contents():
            return ""
        case Section(title, blocks):
            return "\n\n".join([f"## {title}", *map(_render, blocks)])
        case Picture(name, title, caption):
            return f"![{title}](figures/{name}.svg)\n\n{' '.join(caption)}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
