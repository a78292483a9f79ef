"""The pages in a real browser: nothing is asked for, nothing is complained of, the controls work."""

import itertools

import pytest
from chromium import Browser, browser, find_chromium
from synthetic_store import (
    FIRST,
    NBSP_REPORT,
    SECOND,
    both_of,
    evaluations,
    find,
    games_of,
    learn,
    learn_first,
    learn_second,
    plan_of,
    play_all,
    play_first,
    played,
    score,
    scores,
)

import analysis
from analysis.tables.cells import of_summary
from nbsp_ray.store import Store

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium here: pages are opened where one is found (Debian: apt-get install chromium)"
)
READY = "document.querySelectorAll('#panels .scatterlayer .trace').length > 0"
PAIRS = ((FIRST, SECOND), (SECOND, FIRST))


@pytest.fixture(scope="module")
def opened():
    assert PROGRAM
    with browser(PROGRAM) as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Report and explorer of a sweep over counts, the last of whose trials has not run."""
    store = Store(tmp_path_factory.mktemp("store"), create=True)
    plan = plan_of(pairs=PAIRS, skill_neurons=(0.1, 0.2, 0.8))
    after = {None: (0, 10), 0.1: (4, 9), 0.2: (8, 7), 0.8: (10, 1)}
    for trial in plan.trials[:-1]:
        learn_first(store, plan, trial, 9)
        stability, plasticity = after[trial.skill_neurons]
        learn_second(store, plan, trial, max(0, stability - trial.seed), plasticity, **NBSP_REPORT)
    return written(store, plan, tmp_path_factory.mktemp("pages"))


def written(store, plan, folder):
    results = analysis.load(store.root, plan)
    analysis.write_report(results, folder, name="x", title="Toy")
    page = analysis.write_explorer(results, folder / "explore.html", name="x", title="Toy")
    return folder / "report.html", page, store, plan


@pytest.fixture
def explorer(opened: Browser, pages):
    opened.complaints.clear()
    opened.requests.clear()
    opened.open(pages[1])
    opened.wait(READY)
    yield opened
    assert opened.complaints == []
    assert opened.requests == [opened.address]


def rows(page):
    return page.evaluate(
        "[...document.querySelectorAll('#summary tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )


def set_control(page, selector, value, event):
    page.evaluate(
        f"(() => {{ const it = document.querySelector({selector!r}); it.value = {value!r};"
        f" it.dispatchEvent(new Event({event!r}, {{bubbles: true}})); }})()"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_report_opens_in_peace(opened: Browser, pages, dark):
    opened.complaints.clear()
    opened.requests.clear()
    opened.open(pages[0], dark=dark)
    page = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert page == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    # The figures take the page's colours.
    label = opened.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert label == ("rgb(228, 232, 236)" if dark else "rgb(27, 31, 36)")
    wide = opened.evaluate("[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width)")
    assert len(wide) == 6
    assert all(600 < width < 1300 for width in wide)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.complaints == []
    assert opened.requests == [opened.address]


def test_a_phone_can_read_the_report(opened: Browser, pages):
    opened.open(pages[0], width=400, height=800)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_explorer_shows_what_the_slider_says(explorer: Browser):
    assert explorer.evaluate("document.querySelector('#count-label').textContent") == "0.2 (3 per network)"
    set_control(explorer, "#count", "2", "input")
    assert "At 0.8 skill neurons" in explorer.evaluate("document.querySelector('#at').textContent")
    table = rows(explorer)
    assert [row[:4] for row in table] == [
        ["reach > avoid", "base", "none", "2 of 2"],
        ["reach > avoid", "nbsp", "0.8", "2 of 2"],
        ["avoid > reach", "base", "none", "2 of 2"],
        ["avoid > reach", "nbsp", "0.8", "1 of 2"],
    ]
    assert table[1][4:] == ["0.95 ± 0.05", "-", "0.10 (2 of 2 seeds equal)", "-", "on it"]
    assert table[3][4:6] == ["1.00", "-"]


def test_pairs_and_methods_can_be_left_out(explorer: Browser):
    explorer.evaluate("document.querySelector('#methods input[value=base]').click()")
    explorer.evaluate("document.querySelectorAll('#pairs input')[1].click()")
    assert [row[:2] for row in rows(explorer)] == [["reach > avoid", "nbsp"]]
    traces = explorer.evaluate("document.querySelectorAll('.panel:not([hidden]) .trace').length")
    explorer.evaluate("document.querySelectorAll('#pairs input')[1].click()")
    assert explorer.evaluate("document.querySelectorAll('.panel:not([hidden]) .trace').length") > traces


def test_measures_and_network_can_be_chosen(explorer: Browser):
    before = rows(explorer)
    set_control(explorer, "#measure", "success-learning", "change")
    # Retention is the mean of 0.8, 0.6, 0.4, 0.2, whatever the final evaluation said.
    assert {row[4] for row in rows(explorer)} == {"0.50 (2 of 2 seeds equal)"}
    assert rows(explorer) != before
    set_control(explorer, "#network", "q2", "change")
    explorer.wait("document.querySelector('#layers').textContent.includes('neurons of q2')")


def click_at(page, x, y):
    """A click on that point of the first panel."""
    at = page.evaluate(
        f"""(() => {{
          const plot = document.querySelector('#panels .plot'), {{xaxis, yaxis}} = plot._fullLayout;
          plot.scrollIntoView();
          const box = plot.getBoundingClientRect();
          return [box.left + xaxis._offset + xaxis.l2p({x}), box.top + yaxis._offset + yaxis.l2p({y})];
        }})()"""
    )
    page.click(*at)


def test_a_click_on_a_seed_shows_its_trial(explorer: Browser):
    click_at(explorer, 0.3, 0.9)
    explorer.wait("document.querySelector('#trial h2').textContent.includes('0.1, seed 1')")
    text = explorer.evaluate("document.querySelector('#trial').textContent")
    assert "stability 0.30, plasticity 0.90; done" in text
    assert "nbsp-ray try x pairs=" in text
    assert "skill_neurons=0.1 --root rerun" in text
    shown = "[...document.querySelectorAll('#trial a')].map(a => [a.textContent, a.getAttribute('href')])"
    links = explorer.evaluate(shown)
    assert len(links) == 2
    assert all(href.endswith(f"/phases/{key}/") and not href.startswith("/") for key, href in links)
    for plot in ("curves", "layers"):
        explorer.wait(f"document.querySelector('#{plot} .main-svg') !== null")
    assert explorer.evaluate("document.querySelector('#count-label').textContent") == "0.1 (2 per network)"


@pytest.mark.parametrize("training", [0, 4], ids=["no game yet", "too few for a mean of ten"])
def test_a_page_of_hardly_played_games_opens_too(opened: Browser, store, tmp_path, training):
    plan = games_of(seeds=(0,), pairs=(("Pong", "Bowling"),), methods=("base",))
    (trial,) = plan.trials
    play_first(store, plan, trial, [-20.0])
    rows = scores("Pong", [-21, -21]) + scores("Bowling", [20, 30]) if training else []
    learn(store, plan, trial.phases[1], rows + played("Bowling", [25.0] * training), env_steps=100)
    for game in trial.tasks:
        score(store, plan, trial.phases[1], game, [-20.0])
    opened.complaints.clear()
    for page in written(store, plan, tmp_path)[:2]:
        opened.open(page)
    opened.wait("document.querySelector('#curves .main-svg') !== null")
    assert opened.complaints == []


def test_a_click_on_a_mean_shows_its_seeds_and_the_slider_moves_it(explorer: Browser):
    click_at(explorer, 0.75, 0.7)
    explorer.wait("document.querySelector('#trial h2').textContent.includes('nbsp, 0.2, mean of 2 seeds')")
    text = explorer.evaluate("document.querySelector('#trial').textContent")
    assert "stability0.75 ± 0.05plasticity0.70 (2 of 2 seeds equal)" in text
    assert "seed 0: 0.80, 0.70" in text
    assert explorer.evaluate("document.querySelectorAll('#curves .scatterlayer .trace').length") >= 2
    set_control(explorer, "#count", "2", "input")
    explorer.wait("document.querySelector('#trial h2').textContent.includes('nbsp, 0.8, mean of 2 seeds')")
    marks = "document.querySelector('#panels .plot').data.filter(t => t.marker?.size === 24)"
    rings = f"{marks}.map(t => [t.x[0], t.y[0]])"
    assert explorer.evaluate(rings) == [[0.95, 0.1]]


def test_the_weighting_is_that_of_advise(explorer: Browser, pages):
    set_control(explorer, "#weight", "16", "input")
    results = analysis.load(pages[2].root, pages[3])
    advice = analysis.advise(results, 0.8)
    found = "[...document.querySelectorAll('#advice-best tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    assert explorer.evaluate(found) == [
        [one.label, one.best.label, str(one.best.neurons), of_summary(one.best.value, error=False), str(one.seeds),
         ", ".join(count.label for count in one.ties) or "-"]
        for one in advice
    ]  # fmt: skip
    assert "--weight-stability 0.80" in explorer.evaluate("document.querySelector('#advice-command').textContent")


def test_the_number_of_neurons_can_go_to_the_right(explorer: Browser):
    explorer.evaluate("document.querySelector('input[value=counts]').click()")
    names = "[...new Set(document.querySelector('#panels .plot').data.map(t => t.name))]"
    assert {"stability", "plasticity", "value", "seed"} <= set(explorer.evaluate(names))
    ticks = "document.querySelector('#panels .plot').layout.xaxis.ticktext"
    assert explorer.evaluate(ticks) == ["0.1", "0.2", "0.8"]
    # The slider at 0.2; 12 of 16 neurons are live, nine tenths of the way from 3 to 13.
    lines = "document.querySelector('#panels .plot').layout.shapes.map(s => [s.x0, s.line.dash ?? ''])"
    assert explorer.evaluate(lines) == [[1, ""], [pytest.approx(1.9), "dot"]]
    assert "live neurons end" in explorer.evaluate("document.querySelector('#key').textContent")


def test_labels_of_counts_lie_apart(explorer: Browser):
    texts = "[...document.querySelectorAll('#panels .plot')].map(p => [...p.querySelectorAll('.annotation-text')])"
    box = "(t) => { const b = t.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }"
    boxes = explorer.evaluate(f"{texts}.map(of_panel => of_panel.map({box}))")
    assert [len(of_panel) for of_panel in boxes] == [4, 4]
    for of_panel in boxes:
        for one, other in itertools.combinations(of_panel, 2):
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_the_axes_fit_the_data_or_go_from_0_to_1(explorer: Browser):
    axis = "document.querySelector('#panels .plot').layout.yaxis.range"
    low, high = explorer.evaluate(axis)
    assert (low, high) == (pytest.approx(0.1 - 0.9 * 0.06), 1.04)
    set_control(explorer, "#axes", "unit", "change")
    assert explorer.evaluate(axis) == [-0.04, 1.04]
    titles = "['xaxis', 'yaxis'].map(a => document.querySelector('#panels .plot').layout[a].title.text)"
    assert explorer.evaluate(titles) == [
        "stability: success rate, first task after",
        "plasticity: success rate, second task",
    ]
    set_control(explorer, "#measure", "success-learning", "change")
    assert explorer.evaluate(titles)[1] == "plasticity: AUC of success rate, second task"


def test_nothing_chosen_is_said(explorer: Browser):
    explorer.evaluate("document.querySelectorAll('#methods input').forEach(i => i.click())")
    assert "Nothing is chosen: tick at least one pair" in explorer.evaluate(
        "document.querySelector('#nothing').innerText"
    )
    assert explorer.evaluate("document.querySelector('#trial').innerText.trim()") == "Nothing is chosen."
    explorer.evaluate("document.querySelectorAll('#methods input')[1].click()")
    assert explorer.evaluate(READY)


def test_the_address_holds_what_is_chosen(explorer: Browser, pages):
    click_at(explorer, 0.3, 0.9)
    set_control(explorer, "#weight", "4", "input")
    explorer.evaluate("document.querySelector('input[value=counts]').click()")
    told = "[location.hash, document.querySelector('#trial h2').textContent, document.querySelector('#weight').value]"
    before = explorer.evaluate(told)
    explorer.call("Page.navigate", url="about:blank")
    explorer.call("Page.navigate", url=explorer.address + before[0])
    explorer.wait("document.readyState === 'complete' && location.protocol === 'file:'")
    assert explorer.evaluate(told) == before
    assert explorer.evaluate("document.querySelector('input[value=counts]').checked")
    later = ("about:", f"{explorer.address}#")
    explorer.requests[:] = [one for one in explorer.requests if not one.startswith(later)][:1]


def test_a_phone_can_use_the_explorer(opened: Browser, pages):
    opened.open(pages[1], width=390, height=844)
    opened.wait(READY)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    controls = "[...document.querySelectorAll('.controls input, .controls select, .plot')]"
    assert max(opened.evaluate(f"{controls}.map(e => e.getBoundingClientRect().right)")) <= 390


def test_one_number_of_neurons_has_no_slider_even_on_a_phone(opened: Browser, full, plan, tmp_path):
    page = analysis.write_explorer(analysis.load(full.root, plan), tmp_path / "e.html", name="x", title="x")
    opened.open(page, width=390, height=844)
    opened.wait(READY)
    assert opened.evaluate("[byId('slider'), byId('weighting')].map(e => getComputedStyle(e).display)") == [
        "none",
        "none",
    ]
    assert "slider" not in opened.evaluate("document.querySelector('#key').textContent")


def test_tables_of_the_report_sort_and_sections_unfold(opened: Browser, pages):
    opened.open(pages[0])
    column = "[...document.querySelectorAll('#both-tasks tbody tr')].map(r => r.cells[4].textContent)"
    as_made = opened.evaluate(column)
    head = "document.querySelectorAll('#both-tasks thead th')[4]"
    assert opened.evaluate(f"getComputedStyle({head}).textAlign") == "right"
    for way in (sorted(as_made, key=first_number, reverse=True), sorted(as_made, key=first_number), as_made):
        opened.evaluate(f"{head}.click()")
        assert [first_number(one) for one in opened.evaluate(column)] == [first_number(one) for one in way]
    assert not opened.evaluate("document.querySelector('#every-trial').open")
    opened.evaluate("document.querySelector('nav a[href=\\'#every-trial\\']').click()")
    opened.wait("document.querySelector('#every-trial').open")


def first_number(cell):
    return float(cell.replace("*", "").split()[0])


def test_the_first_screen_of_the_report_says_what_was_found(opened: Browser, pages):
    opened.open(pages[0], width=1400, height=1000)
    bottoms = "['.lead', 'figure', '.facts', 'nav'].map(s => document.querySelector(s).getBoundingClientRect().bottom)"
    found = opened.evaluate(bottoms)
    assert found == sorted(found)
    assert found[-1] < 1000
    assert "has the highest value" in opened.evaluate("document.querySelector('.lead').textContent")


def test_no_button_sends_the_data_away(explorer: Browser):
    buttons = explorer.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.getAttribute('data-title'))")
    assert set(buttons) == {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


@pytest.mark.parametrize("what", ["hardly begun", "one seed", "curve cut off", "no counts"])
def test_pages_of_little_data_open_too(opened: Browser, store, tmp_path, what):
    plan = plan_of(seeds=(0,), **({"methods": ("base",)} if what == "no counts" else {}))
    trial = find(plan, "base", 0)
    if what == "hardly begun":
        store.phase(trial.phases[0]).write_progress({"env_steps": 3})
    else:
        learn_first(store, plan, trial, 2)
        if what == "curve cut off":
            learn(store, plan, trial.phases[1], evaluations(SECOND, [0, 1]))
        else:
            learn_second(store, plan, trial, 1, 9)
    opened.complaints.clear()
    for page in written(store, plan, tmp_path)[:2]:
        opened.open(page)
        opened.wait("document.querySelector('h1') !== null")
    opened.wait("document.querySelectorAll('#summary tbody tr').length > 0")
    assert opened.complaints == []


def test_the_table_has_a_row_without_undefined_scores(opened: Browser, store, tmp_path):
    plan = plan_of(methods=("nbsp",), seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, 2 if trial.seed == 2 else 8, 5, score_undefined=trial.seed == 2)
    opened.open(written(store, plan, tmp_path)[1])
    opened.wait(READY)
    assert [row[3:5] for row in rows(opened)] == [
        ["3 of 3, score undefined in 1", "0.60 ± 0.20"],
        ["2 of 2, these left out", "0.80 (2 of 2 seeds equal)"],
    ]


def test_tasks_and_games_on_one_page_have_axes_of_their_own(opened: Browser, store, tmp_path):
    plan = both_of(skill_neurons=(0.1, 0.8))
    play_all(store, plan)
    for trial in plan.trials:
        if trial.benchmark == "toy":
            learn_first(store, plan, trial, 9)
            learn_second(store, plan, trial, 5, 8)
    opened.complaints.clear()
    pages = written(store, plan, tmp_path)
    opened.open(pages[0])
    assert len(opened.evaluate("[...document.querySelectorAll('figure svg')]")) == 11
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.open(pages[1])
    opened.wait(READY)
    assert {row[0] for row in rows(opened)} == {"reach > avoid"}
    set_control(opened, "#measure", "score-final", "change")
    games = {row[0]: row for row in rows(opened)}
    assert set(games) == {"Pong > Bowling", "DemonAttack > Carnival"}
    assert games["DemonAttack > Carnival"][3] == "0 of 2"  # Carnival has no normalised score
    opened.wait("document.querySelector('#trial h2').textContent.includes('Pong > Bowling')")
    opened.wait("document.querySelectorAll('#curves .y2tick').length > 1")
    axis = "document.querySelector('.panel:not([hidden]) .plot')._fullLayout.xaxis.title.text"
    assert opened.evaluate(axis) == "stability: normalised score, first game after"
    set_control(opened, "#measure", "score-raw", "change")
    assert {row[3] for row in rows(opened)} == {"2 of 2"}
    assert opened.evaluate(axis) == "stability: raw score, first game after"
    set_control(opened, "#measure", "success-final", "change")
    assert {row[0] for row in rows(opened)} == {"reach > avoid"}
    assert opened.complaints == []
