import analysis
from analysis.tables import all_tables
from analysis.tables.first_task import first_task_table
from analysis.tables.learning import learning_table
from analysis.tables.neurons import neurons_table
from analysis.tables.results import results_table
from analysis.tables.trials import trials_table


def test_tables_of_an_empty_store_have_all_rows(store, plan):
    results = analysis.load(store.root, plan)
    for make in (results_table, learning_table):
        assert make(results)["seeds"].tolist() == [2, 2]
    assert trials_table(results)["status"].tolist() == ["waiting"] * 4
    assert len(neurons_table(results)) == 0
    assert first_task_table(results)["first_before_n"].tolist() == [0]


def test_a_table_without_rows_is_left_out(store, plan):
    names = [table.name for table in all_tables(analysis.load(store.root, plan))]
    assert names == ["results", "first_task", "seeds", "learning", "differences", "trials", "settings"]
