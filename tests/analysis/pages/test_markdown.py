import pandas as pd

from analysis.pages import markdown


def test_markdown_escapes_what_would_break_a_row():
    text = pd.DataFrame({"a|b": ["x|y", "two\nlines"]})
    assert markdown.table(text) == "| a\\|b |\n| --- |\n| x\\|y |\n| two lines |"
