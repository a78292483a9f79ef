"""Methods from elsewhere: registered in this process, or named by an installed package; their options and looks too."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from analysis.figures.palette import look
from nbsp_ray import methods as registry
from nbsp_ray.config.describe import settings
from nbsp_ray.config.json_schema import json_schema
from nbsp_ray.config.schema import Settings
from nbsp_ray.errors import ConfigError
from nbsp_ray.methods import Look, Method, get_method, methods, read_ingredient, register_method
from nbsp_ray.methods.low_lr import LowLearningRate
from nbsp_ray.methods.replay import Options as ReplayOptions
from nbsp_ray.plan.build import make_plan
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs.explain import explain


@pytest.fixture
def table() -> Iterator[None]:
    """The table as it was, afterwards."""
    yield
    registry.methods.cache_clear()
    registry.forget_options()


class Options(ReplayOptions):
    """For a test."""

    slower: float = Field(0.5, gt=0, le=1)
    """What `slower` multiplies each update by."""


ROW = Method(
    "slower",
    "half as fast",
    lambda options, counts: (LowLearningRate(scale=options.slower),),
    Options,
    look=Look("#123456", "o"),
)


@pytest.mark.usefixtures("table")
def test_a_registered_method_is_one_of_the_table_with_its_options_and_look() -> None:
    with pytest.raises(ConfigError, match=r"'method\.slower'|slower"):
        load_sweep("toy", ["methods=base", "method.slower=0.3"])
    register_method(ROW)
    loaded = load_sweep("toy", ["methods=slower", "method.slower=0.25", "seeds=0"])
    plan = make_plan("toy", loaded.sweeps)
    (ingredient,) = plan.phases[plan.trials[0].phases[1]].spec.ingredients
    assert read_ingredient(ingredient) == LowLearningRate(scale=0.25)
    assert settings()["method.slower"].words == "a number > 0 and <= 1"
    assert "slower" in json_schema()["$defs"]["MethodOptions"]["properties"]
    assert "half as fast" in str(explain("slower"))
    assert look("slower") == Look("#123456", "o")
    with pytest.raises(ConfigError, match=r"takes a number > 0 and <= 1|slower"):
        load_sweep("toy", ["methods=slower", "method.slower=2"])
    with pytest.raises(ConfigError, match="register_method has a method 'slower', and there is one of that name"):
        register_method(ROW)


class OtherOptions(Settings):
    """An option of replay's name, with another meaning."""

    replay_interval: int = 3
    """Something else."""


@pytest.mark.usefixtures("table")
def test_one_option_cannot_mean_two_things() -> None:
    with pytest.raises(ConfigError, match=r"method\.replay_interval is an option of .* and another one of"):
        register_method(Method("other", "for a test", lambda options, counts: (), OtherOptions))
    assert "other" not in methods()
    assert "method.replay_interval" in settings()


def test_an_ingredient_that_no_method_here_has_names_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"kind 'unheard_of'.*entry point of the group nbsp_ray\.methods"):
        read_ingredient({"kind": "unheard_of"})


CODE = '''
"""A method of another package."""
from nbsp_ray.methods import Method
from nbsp_ray.methods.low_lr import LowLearningRate

METHODS = (Method("theirs", "of another package", lambda options, counts: (LowLearningRate(scale=0.9),)),)
'''


def install(folder: Path, target: str) -> None:
    """What an installer leaves of a package with an entry point."""
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[nbsp_ray.methods]\ntheirs = {target}\n")
    (folder / "their_methods.py").write_text(CODE)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("target", ["their_methods", "their_methods:METHODS"])
def test_an_installed_package_adds_methods(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, target)
    monkeypatch.syspath_prepend(tmp_path)
    registry.methods.cache_clear()
    registry.forget_options()
    assert get_method("theirs").summary == "of another package"
    assert get_method("theirs").group == "field"
    assert list(methods())[-1] == "theirs"
    sys.modules.pop("their_methods")


@pytest.mark.usefixtures("table")
def test_an_entry_point_that_is_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "not_there")
    monkeypatch.syspath_prepend(tmp_path)
    registry.methods.cache_clear()
    with pytest.raises(ConfigError, match=r"theirs = not_there .* cannot be loaded: ModuleNotFoundError.*mend"):
        methods()
