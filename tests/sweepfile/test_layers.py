import pytest

from nbsp_ray.sweepfile.layers import Layer, nested

FILE = Layer(
    {"benchmark": "toy", "seeds": [0, 1], "sac": {"gamma": 0.9, "hidden": [8, 8]}},
    {
        (): "x.yaml",
        ("benchmark",): "x.yaml:1",
        ("seeds",): "x.yaml:2",
        ("seeds", 0): "x.yaml:2",
        ("seeds", 1): "x.yaml:3",
        ("sac",): "x.yaml:4",
        ("sac", "gamma"): "x.yaml:5",
        ("sac", "hidden"): "x.yaml:6",
        ("sac", "hidden", 1): "x.yaml:7",
    },
)
TOP = Layer(
    {"seeds": [5], "sac": {"hidden": [4]}},
    {(): "command line", ("seeds",): "command line"} | {("sac", "hidden"): "command line"},
)


def test_at_names_the_nearest_place() -> None:
    assert FILE.at("sac", "hidden", 1) == "x.yaml:7"
    assert FILE.at("sac", "hidden", 0) == "x.yaml:6"
    assert FILE.at("sac", "tau") == "x.yaml:4"
    assert FILE.at("title") == "x.yaml"


def test_over_replaces_settings_one_by_one_and_lists_whole() -> None:
    both = TOP.over(FILE)
    assert both.data == {"benchmark": "toy", "seeds": [5], "sac": {"gamma": 0.9, "hidden": [4]}}
    assert FILE.data["seeds"] == [0, 1]


def test_over_keeps_the_places_of_what_it_keeps() -> None:
    both = TOP.over(FILE)
    assert both.at("sac", "gamma") == "x.yaml:5"
    assert both.at("sac", "hidden", 1) == "command line"
    assert both.at("seeds", 0) == both.at("seeds", 1) == "command line"
    assert both.at("title") == "x.yaml"


def test_without() -> None:
    less = FILE.without("sac", "seeds")
    assert less.data == {"benchmark": "toy"}
    assert less.origins == {(): "x.yaml", ("benchmark",): "x.yaml:1"}


# Variations

VARIED = Layer(
    {"sac": {"gamma": 0.9}, "vary": {"sac.tau": [0.1, 0.2], "first.env_steps": [5, 6, 7]}},
    {(): "x.yaml", ("vary",): "x.yaml:1", ("vary", "sac.tau"): "x.yaml:2", ("vary", "sac.tau", 1): "x.yaml:3"},
)


def test_variations_are_the_product() -> None:
    found = [one.data for one in VARIED.variations()]
    assert [(one["sac"]["tau"], one["first"]["env_steps"]) for one in found] == [
        (0.1, 5),
        (0.1, 6),
        (0.1, 7),
        (0.2, 5),
        (0.2, 6),
        (0.2, 7),
    ]
    assert all(one["sac"]["gamma"] == 0.9 and "vary" not in one for one in found)


def test_a_variation_knows_the_place_of_its_values() -> None:
    found = list(VARIED.variations())
    assert found[0].at("sac", "tau") == "x.yaml:2"
    assert found[3].at("sac", "tau") == "x.yaml:3"
    assert found[0].at("first", "env_steps") == "x.yaml:1"
    assert found[0].at("title") == "x.yaml"


def test_a_layer_that_varies_nothing_is_its_only_variation() -> None:
    assert list(FILE.variations()) == [FILE]


@pytest.mark.parametrize(
    ("above", "taus"),
    [
        ({"sac": {"tau": 0.5}}, [0.5]),
        ({"vary": {"sac.tau": [0.3, 0.4]}}, [0.3, 0.4]),
        ({"vary": {}}, [0.1, 0.2]),
        ({"sac": {"gamma": 0.5}}, [0.1, 0.2]),
    ],
)
def test_what_is_set_or_varied_above_replaces_a_variation(above: dict[str, object], taus: list[float]) -> None:
    both = Layer(above, {(): "command line"}).over(VARIED)
    assert sorted({one.data["sac"]["tau"] for one in both.variations()}) == taus
    assert len(list(both.variations())) == 3 * len(taus)
    assert VARIED.data["vary"] == {"sac.tau": [0.1, 0.2], "first.env_steps": [5, 6, 7]}


def test_a_variation_above_replaces_what_is_set_below() -> None:
    both = VARIED.over(Layer({"sac": {"tau": 1.0}}, {(): "y.yaml", ("sac", "tau"): "y.yaml:1"}))
    assert {one.data["sac"]["tau"] for one in both.variations()} == {0.1, 0.2}


def test_nested() -> None:
    assert nested(("sac", "tau"), 0.1) == {"sac": {"tau": 0.1}}
    assert nested(("seeds",), [1]) == {"seeds": [1]}
