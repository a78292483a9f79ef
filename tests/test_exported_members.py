"""Names that others build on: whoever renames one breaks somebody, and should know."""

import importlib
import inspect
import re
from importlib import metadata

import pytest

import nbsp_ray

PUBLIC = {
    "nbsp_ray.errors": "NbspError ConfigError StoreError CorruptCheckpointError PhaseError ClusterError",
    "nbsp_ray.config.schema": "Sweep Sac Learning Evaluation MethodOptions Resources",
    "nbsp_ray.plan.build": "make_plan",
    "nbsp_ray.specs": "Plan PlannedPhase Trial PhaseSpec EvaluationSpec ALGORITHM_VERSION",
    "nbsp_ray.store": "Store PhaseFolder Checkpoint FORMAT",
    "nbsp_ray.benchmarks": (
        "Benchmark Env Step Spaces Vector Frames Continuous Discrete Success Score benchmarks get_benchmark "
        "register_benchmark"
    ),
    "nbsp_ray.methods": "Method methods get_method read_ingredient",
    "nbsp_ray.learning.hooks": "Ingredient Past Prepared ActiveMethod",
    "nbsp_ray.layout": "NETWORKS PARTS Layout layouts",
    "nbsp_ray.methods.replay": "PastReplay",
    "nbsp_ray.methods.neuron_mask": "NeuronMask",
    "nbsp_ray.learning.sac": "UpdateRule",
    "nbsp_ray.learning.run": "PhaseRun Progress",
    "nbsp_ray.local": "run_trial",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there_and_described(module: str) -> None:
    found = importlib.import_module(module)
    for name in PUBLIC[module].split():
        value = getattr(found, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{module}.{name} says nothing of itself"


def test_the_four_hooks_of_an_ingredient() -> None:
    from nbsp_ray.learning.hooks import Ingredient

    hooks = {name: list(inspect.signature(getattr(Ingredient, name)).parameters) for name in (
        "prepare", "replays", "restraints", "finish")}  # fmt: skip
    assert hooks == {
        "prepare": ["self", "past"],
        "replays": ["self", "update"],
        "restraints": ["self", "arrays", "agent"],
        "finish": ["self", "arrays", "past", "agent"],
    }
    assert (Ingredient.needs_rollouts, Ingredient.needs_method) == (False, None)


def test_what_a_benchmark_must_give() -> None:
    from nbsp_ray.benchmarks import Benchmark, Env, Step

    assert Benchmark.__abstractmethods__ == {"spaces", "make_env"}
    assert Env.__abstractmethods__ == {"reset", "step"}
    assert Step._fields == ("observation", "reward", "terminated", "truncated", "success", "score", "resumes")


def test_every_error_for_the_user_is_one_of_ours() -> None:
    from nbsp_ray import errors

    for name in PUBLIC["nbsp_ray.errors"].split():
        assert issubclass(getattr(errors, name), errors.NbspError)


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", nbsp_ray.__version__)
    assert metadata.version("nbsp-ray") == nbsp_ray.__version__
    for name in getattr(nbsp_ray, "__all__", ()):
        assert hasattr(nbsp_ray, name)
