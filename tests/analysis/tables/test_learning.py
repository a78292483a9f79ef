import numpy as np
import pytest
from synthetic_store import row_of

from analysis.tables.learning import learning_table


def test_learning_by_hand(results):
    table = learning_table(results)
    base, nbsp = row_of(table, "base"), row_of(table, "nbsp")
    # Areas of (0, .5, 1, 1, 1) and (0, 0, 0, 0, .8): 0.75 and 0.1; the threshold is reached at 200 and never.
    assert base["auc_second_mean"] == pytest.approx(0.425)
    assert (base["reached"], base["ended"]) == (1, 2)
    assert np.isnan(base["env_steps_to_threshold_median"])
    # At 200 and at 100; the second stopped at 300 of 400.
    assert (nbsp["reached"], nbsp["env_steps_to_threshold_median"]) == (2, 150)
    assert nbsp["auc_carried_share_highest"] == pytest.approx(0.25)
