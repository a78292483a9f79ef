import pytest
from synthetic_store import EPISODES

from analysis.tables.trials import show_trials, trials_table


def test_every_trial_has_a_row_with_wilson_intervals(results):
    table = trials_table(results)
    assert len(table) == 4
    row = table.iloc[0]
    assert (row["seed"], row["first_before"], row["first_before_n"]) == (0, 0.9, EPISODES)
    # Wilson for 9 of 10.
    assert (row["first_before_wilson_low"], row["first_before_wilson_high"]) == pytest.approx(
        (0.5958, 0.9821), abs=1e-4
    )
    assert row["key_first"] == results.finals["key_first"][0]


def test_keys_lead_to_the_phases_folders_and_films_to_theirs(results):
    row = results.finals.iloc[0]
    films = results.root / "reports" / "x" / "films" / results.plan.trials[0].name
    films.mkdir(parents=True)
    shown = show_trials(results).text.iloc[0]
    first, second = row["key_first"], row["key_second"]
    assert shown["keys"] == f"[`{first[:8]}`](ROOT/phases/{first}/) [`{second[:8]}`](ROOT/phases/{second}/)"
    assert shown["films"] == f"[films](ROOT/reports/x/films/{films.name}/)"
