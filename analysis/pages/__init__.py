"""Blocks and tables as HTML, Markdown, LaTeX and text for a terminal."""
