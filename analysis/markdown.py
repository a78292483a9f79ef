"""Markdown, as little of it as a report needs."""

import pandas as pd


def table(text: pd.DataFrame) -> str:
    """A frame of text as a Markdown table."""
    header = [str(name) for name in text.columns]
    lines = [header, ["---"] * len(header), *text.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def bullets(sentences: list[str]) -> str:
    """A list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
