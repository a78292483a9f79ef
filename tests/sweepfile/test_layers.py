from nbsp_ray.sweepfile.layers import Layer

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
