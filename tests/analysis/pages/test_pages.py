"""The pages in a real browser: nothing is asked for, nothing is complained of, the controls work."""

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
from nbsp_ray.store import Store

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium here: pages are opened where one is found (Debian: apt-get install chromium)"
)
READY = "document.querySelectorAll('#tradeoff .scatterlayer .trace').length > 0"
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
    return folder / "report.html", analysis.write_explorer(results, folder / "explore.html", name="x", title="Toy")


@pytest.fixture
def explorer(opened: Browser, pages):
    opened.complaints.clear()
    opened.requests.clear()
    opened.open(pages[1])
    opened.wait(READY)
    yield opened
    assert opened.complaints == []
    assert opened.requests == [pages[1].as_uri()]


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
    assert len(wide) == 5
    assert all(600 < width < 1300 for width in wide)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.complaints == []
    assert opened.requests == [pages[0].as_uri()]


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
    traces = explorer.evaluate("document.querySelectorAll('#tradeoff .scatterlayer .trace').length")
    explorer.evaluate("document.querySelectorAll('#pairs input')[1].click()")
    assert explorer.evaluate("document.querySelectorAll('#tradeoff .scatterlayer .trace').length") > traces


def test_measures_and_network_can_be_chosen(explorer: Browser):
    before = rows(explorer)
    set_control(explorer, "#measure", "success-learning", "change")
    # Retention is the mean of 0.8, 0.6, 0.4, 0.2, whatever the final evaluation said.
    assert {row[4] for row in rows(explorer)} == {"0.50 (2 of 2 seeds equal)"}
    assert rows(explorer) != before
    set_control(explorer, "#network", "q2", "change")
    explorer.wait("document.querySelector('#layers').textContent.includes('neurons of q2')")


def test_a_click_on_a_seed_shows_its_trial(explorer: Browser):
    x, y = explorer.evaluate(
        """(() => {
          const plot = document.querySelector('#tradeoff');
          const seed = DATA.trials.findIndex(t => t.count === '0.1' && t.seed === 1);
          const [x, y] = DATA.trials[seed]['success-final'], {xaxis, yaxis} = plot._fullLayout;
          const box = plot.getBoundingClientRect();
          return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)];
        })()"""
    )
    explorer.click(x, y)
    explorer.wait("document.querySelector('#trial h2').textContent.includes('0.1, seed 1')")
    text = explorer.evaluate("document.querySelector('#trial').textContent")
    assert "stability 0.30, plasticity 0.90; done" in text
    assert "nbsp-ray try x pairs=" in text
    assert "skill_neurons=0.1 --root rerun" in text
    assert "/phases/" in text
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
    for page in written(store, plan, tmp_path):
        opened.open(page)
    opened.wait("document.querySelector('#curves .main-svg') !== null")
    assert opened.complaints == []


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
    for page in written(store, plan, tmp_path):
        opened.open(page)
        opened.wait("document.querySelector('h1') !== null")
    opened.wait("document.querySelectorAll('#summary tbody tr').length > 0")
    assert opened.complaints == []


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
    assert len(opened.evaluate("[...document.querySelectorAll('figure svg')]")) == 9
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
    axis = "document.querySelector('#tradeoff')._fullLayout.xaxis.title.text"
    assert opened.evaluate(axis) == "stability: normalised score, first game"
    set_control(opened, "#measure", "score-raw", "change")
    assert {row[3] for row in rows(opened)} == {"2 of 2"}
    assert opened.evaluate(axis) == "stability: raw score, first game"
    set_control(opened, "#measure", "success-final", "change")
    assert {row[0] for row in rows(opened)} == {"reach > avoid"}
    assert opened.complaints == []
