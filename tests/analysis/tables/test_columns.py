import pytest
from synthetic_store import FIRST, NBSP_REPORT, SECOND, both_of, learn_first, learn_second, plan_of, play_all

import analysis
from analysis.statistics import CUT
from analysis.tables import all_tables
from analysis.tables.columns import dictionary, meaning


def tables_of(store, plan):
    for trial in plan.trials:
        if trial.benchmark == "toy":
            learn_first(store, plan, trial, 9)
            if len(trial.tasks) == 2:
                learn_second(store, plan, trial, 5, 8, **NBSP_REPORT)
    play_all(store, plan)
    return all_tables(analysis.load(store.root, plan))


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), evaluation={"episodes": 10, "goals": "both"}),
        both_of(skill_neurons=(0.1, 0.8)),
        plan_of(pairs=((FIRST, SECOND, FIRST),), seeds=(0,)),
    ],
    ids=["rates", "rates and scores", "sequences"],
)
def test_every_column_of_every_table_is_in_the_dictionary(store, plan):
    shown = tables_of(store, plan)
    text = dictionary(shown)
    for table in shown:
        section = text.split(f"## {table.name}.csv")[1].split("\n## ")[0]
        assert all(f"| `{column}` | " in section for column in table.data.columns)
    assert CUT in text


def test_a_column_says_what_it_is_of():
    assert meaning("forgetting_learnt_low") == "Of `forgetting_learnt`: lower end of its 95 % interval."
    assert meaning("first_after_share_low").startswith("Of `first_after`: lower end of Clopper and Pearson")
    assert meaning("success_2_drawer-open") == "Mean success on drawer-open after phase 2."
    with pytest.raises(KeyError, match="no_such_column"):
        meaning("no_such_column")
