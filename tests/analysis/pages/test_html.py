import pandas as pd
from pages import Page
from synthetic_store import find, learn_first, learn_second

import analysis
from analysis.blocks import Bullets, Heading, Paragraph, TextTable
from analysis.pages import html


def test_text_cannot_become_markup():
    blocks = [Heading("a <b>", level=1), Paragraph("`x < y` & z"), Bullets(["</ul>"])]
    text = html.render([*blocks, TextTable(pd.DataFrame({"<th>": ["<script>"]}))])
    assert "a &lt;b&gt;" in text
    assert "<code>x &lt; y</code> &amp; z" in text
    assert "<li>&lt;/ul&gt;</li>" in text
    assert "<td>&lt;script&gt;</td>" in text


def test_an_inline_figure_has_ids_of_its_own_and_the_pages_colours():
    svg = (
        '<?xml?><svg height="5pt" width="10pt" x="1"><path id="m1" style="fill: #1b1f24"/><use xlink:href="#m1"/></svg>'
    )
    assert html.inline_svg(svg, "one") == (
        '<svg style="max-width: 14pt" role="img" x="1">'
        '<path id="one-m1" style="fill: currentColor"/><use xlink:href="#one-m1"/></svg>'
    )


def test_a_report_is_one_well_formed_page_that_asks_for_nothing(report):
    page = (report.folder / "report.html").read_text()
    assert Page(page).problems == []
    assert "default-src 'none'" in page
    assert page.count("<svg") == 4
    assert page.count("<table>") == 9
    for word in (
        "Toy, both &lt;tasks&gt;",
        f"<dd><code>nbsp-ray run x --root {report.results.root}</code></dd>",
        "<dt>Made</dt><dd>not recorded</dd>",
        "4 trials: 4 done.",
        "python 3.11.8",
        "prefers-color-scheme",
        "@media print",
    ):
        assert word in page


def test_both_pages_say_the_same(report):
    page, markdown = ((report.folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    headings = [line.removeprefix("## ") for line in markdown.splitlines() if line.startswith("## ")]
    assert len(headings) == 15
    assert all(f">{heading}</h2>" in page for heading in headings)


def test_what_did_not_run_is_said_with_its_error(store, plan, tmp_path):
    learn_first(store, plan, find(plan, "base", 0), 9)
    learn_second(store, plan, find(plan, "base", 0), 1, 10)
    failed = store.phase(find(plan, "nbsp", 1).phases[0])
    failed.write_failure({"error": "MemoryError: <no> room\nmore"})
    analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")
    page = (tmp_path / "report.html").read_text()
    assert "MemoryError: &lt;no&gt; room" in page
    assert failed.key in page


def test_phases_of_another_algorithm_version_are_named(full, plan, tmp_path):
    other = full.phase("0" * 20)
    other.write_spec(next(iter(plan.phases.values())).spec.model_dump(mode="json") | {"algorithm_version": 0})
    page = analysis.write_report(analysis.load(full.root, plan), tmp_path, name="x", title="x")[0].read_text()
    assert "1 phases made by another version" in page
