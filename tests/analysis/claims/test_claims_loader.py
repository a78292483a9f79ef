"""A claims file with a mistake says where and what, in one line for each."""

from pathlib import Path

import pytest

from analysis.claims import load_claims
from nbsp_ray.errors import ConfigError

GOOD = """\
claims:
  - id: C1
    claim: plain SAC forgets
    where: section 3.1
    decided_by: first task before - after, of base
    sweeps: [toy]
    tests:
      - {rule: above, methods: [base], measure: forgetting}
  - id: C2
    claim: masking adds to replay
    where: section 4.3
    decided_by: nbsp - replay_only
    sweeps: ["toy seeds=0-2"]
    tests:
      - {rule: above, methods: [nbsp, replay_only], pairs: ["reach:avoid"]}
"""


def load(tmp_path: Path, text: str) -> str:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_claims(path)
    return str(error.value).replace(f"{path}:", "")


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(GOOD)
    one, two = load_claims(path)
    assert (one.id, one.tests[0].measure, one.sweeps) == ("C1", "forgetting", ("toy",))
    assert two.tests[0].methods == ("nbsp", "replay_only")
    assert [sweep.seeds for sweep in two.loaded] == [(0, 1, 2)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: C2", "id: C1", "9: C1 is given twice"),
        ("id: C2", "id: X2", "9: claims.1.id: string should match pattern"),
        ("sweeps: [toy]", "sweeps: [toi]", "6: toi: no sweep 'toi' (did you mean 'toy'?)"),
        ("sweeps: [toy]", "sweeps: [toy seeds=x]", "6: toy seeds=x: command line: seeds has "),
        ("sweeps: [toy]", "sweeps: []", "2: C1 names no sweep; say in `lacks` why there is none"),
        ("[base]", "[bass]", "8: no method 'bass' (did you mean 'base'?)"),
        ("[base]", "[ewc]", "8: none of the sweeps of C1 has the method ewc"),
        ("[base]", "[base, nbsp, ewc]", "8: rule above takes 1 or 2 methods, and 3 are given"),
        ("measure: forgetting", "measure: forgeting", "8: no measure 'forgeting' (did you mean 'forgetting'?)"),
        ("rule: above, methods: [base]", "rule: up, methods: [base]", "8: claims.0.tests.0.rule: input should be"),
        ("rule: above, methods: [base]", "rule: level, methods: [base]", "8: rule level takes either at_least or"),
        ("tests:\n      - {rule: above", "family: true\n    tests:\n      - {at_least: 0.9, rule: level",
         "7: rule level has no p-value that Holm's correction could take: C1 can be no family"),
        ("tests:\n      - {rule: above", "family: true\n    each_pair: true\n    tests:\n      - {rule: above",
         "7: Holm's correction is of tests over pairs: C1 is either a family or each_pair"),
        ("rule: above, methods: [base], measure: forgetting", "rule: probe", "8: rule probe takes count, the share"),
        ("reach:avoid", "avoid:reach", "15: none of the sweeps of C2 has the pair avoid:reach; they have reach:avoid"),
        ("    where: section 4.3\n", "", "9: claims.1.where is missing"),
        ("where: section 4.3", "were: section 4.3", "11: claims.1.were is no key here (did you mean 'where'?)"),
        ("claim: masking", "id: C3\n    claim: masking", "10: 'claims.1.id' is given twice, first on line 9"),
        ("claims:", "clams:", "1: claims is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) >= 1
    found = load(tmp_path, GOOD.replace(old, new) if old != "claims:" else GOOD.replace(old, new, 1))
    assert any(line.startswith(message) for line in found.splitlines()), found


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD.replace("[toy]", "[toi]").replace("reach:avoid", "a:b")).splitlines()
    assert [line.split(":")[0] for line in found] == ["6", "15"]


def test_what_is_no_file_or_no_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_claims(tmp_path / "nowhere.yaml")
    assert load(tmp_path, "- a\n- b\n").startswith("1: ")
    assert load(tmp_path, "").startswith("1: ")
    assert load(tmp_path, "claims: []\n").startswith("1: claims")


def test_the_claims_of_this_project_are_whole() -> None:
    claims = load_claims(Path(__file__).parents[3] / "reproduction/claims.yaml")
    assert [claim.id for claim in claims] == (
        "C1 C2 C3 C4 C4b C4c C5 C6 C6b C6c C6d C7 C7b C8 C9 C10 C11 C12 C13 C14".split()
    )  # fmt: skip
    assert [claim.id for claim in claims if claim.exploratory] == ["C6b", "C6c", "C6d"]
    assert [claim.id for claim in claims if claim.beyond] == ["C4c", "C6b", "C6c", "C6d", "C12", "C13", "C14"]
