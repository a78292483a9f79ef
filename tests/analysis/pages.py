"""What a page of one file must not have, and what an explorer's page knows."""

from html.parser import HTMLParser
from typing import Any

from analysis.explorer import explorer_data
from analysis.frames.load import Results
from nbsp_ray.sweepfile.scope import Scope

VOID = {"meta", "link", "input", "br", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """Tags that do not close, ids that stand twice, and addresses outside the page but links to files beside it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.problems: list[str] = []
        self.feed(text)
        self.problems += [f"<{tag}> is not closed" for tag in self.open]
        self.problems += [f"id {one} twice" for one in set(self.ids) if self.ids.count(one) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            link = tag == "a" and name == "href" and ":" not in (value or "") and not (value or "").startswith("/")
            outside = not link and not (value or "").startswith(("#", "data:"))
            if name in ("src", "href", "xlink:href", "srcset", "action") and outside:
                self.problems.append(f"<{tag} {name}={value}>")


def data_of(results: Results) -> dict[str, Any]:
    """All that an explorer's page in reports/x knows."""
    scope = Scope.of_all("x", "X", results.root, len(results.plan.trials))
    return explorer_data(results, scope, results.root / "reports" / "x")
