"use strict";
// Tables that sort by a click on a heading (again: the other way round, a third time: as it was), sections that open when
// something links into them, and a print that has all of them.
const first = (text) => parseFloat((text.match(/-?\d[\d,]*\.?\d*/) ?? ["NaN"])[0].replaceAll(",", ""));

function compare(one, other, numeric) {
  if (!numeric) return one.localeCompare(other, undefined, { numeric: true });
  const [a, b] = [first(one), first(other)];
  return isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : a - b;
}

function sort(heading) {
  const table = heading.closest("table"), body = table.tBodies[0], column = heading.cellIndex;
  table.rowsAsMade ??= [...body.rows];
  const numeric = heading.classList.contains("n"), ways = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  const way = [...ways, null][ways.indexOf(heading.ariaSort) + 1];
  for (const other of heading.parentNode.cells) other.ariaSort = null;
  heading.ariaSort = way;
  const text = (row) => row.cells[column].textContent;
  const missing = (row) => numeric && isNaN(first(text(row)));
  const sign = way === "descending" ? -1 : 1;
  const rows = way === null ? table.rowsAsMade : [...table.rowsAsMade].sort((a, b) =>
    missing(a) || missing(b) ? missing(a) - missing(b) : sign * compare(text(a), text(b), numeric));
  body.append(...rows);
}

for (const heading of document.querySelectorAll("thead th")) {
  heading.tabIndex = 0;
  heading.title = "Sort by this column";
  heading.addEventListener("click", () => sort(heading));
  heading.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(heading); }
  });
}

function unfold() {
  const target = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target?.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
