"""What we rely on of Ray that is no public API, or is not promised: one test to look at when Ray is raised."""

import inspect
import os

import psutil
import pytest
import ray
from ray import tune
from ray._private import ray_constants
from ray._private.runtime_env.context import RuntimeEnvContext
from ray.core.generated.common_pb2 import Language
from ray.tune.execution import tune_controller
from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

from nbsp_ray.orchestration import cluster as cluster_module
from nbsp_ray.orchestration.attempts import Attempts
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.gated_search import GatedSearch


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_a_search_algorithm_has_the_hooks_that_we_answer() -> None:
    ours = {name for name in vars(GatedSearch) if not name.startswith("_")}
    assert ours == {
        "add_configurations",
        "is_finished",
        "next_trial",
        "on_trial_complete",
        "on_trial_result",
        "set_finished",
        "total_samples",
    }
    assert ours <= set(dir(SearchAlgorithm))
    for name in ours - {"total_samples"}:
        assert parameters(getattr(GatedSearch, name)) == parameters(getattr(SearchAlgorithm, name)), name
    assert not SearchAlgorithm().has_checkpoint("")


def test_callbacks_and_stoppers_are_asked_as_we_answer() -> None:
    assert parameters(tune.Callback.on_step_begin) == ["self", "iteration", "trials", "info"]
    assert parameters(tune.Callback.on_trial_error) == ["self", "iteration", "trials", "trial", "info"]
    assert parameters(tune.Stopper.__call__) == ["self", "trial_id", "result"]
    assert parameters(tune.Stopper.stop_all) == ["self"]


def test_the_controller_reads_the_variables_that_we_set() -> None:
    source = inspect.getsource(tune_controller)
    assert "TUNE_MAX_PENDING_TRIALS_PG" in source
    assert "TUNE_GLOBAL_CHECKPOINT_S" in source
    assert "TUNE_PRINT_ALL_TRIAL_ERRORS" in source
    assert "TUNE_DISABLE_SIGINT_HANDLER" in inspect.getsource(inspect.getmodule(tune.run))  # type: ignore[arg-type]


def test_a_search_that_is_over_ends_the_experiment() -> None:
    """Else the controller would wait ten minutes for what will not come."""
    gate = Gate({"a": (), "b": ("a",)}, lambda key: False)
    gate.next()
    gate.finished("a", ok=False)
    assert GatedSearch(gate, lambda key: {}, attempts=Attempts(0, lambda machine: True)).is_finished()


@pytest.mark.ray
def test_a_trial_is_made_of_a_spec(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("storage")
    experiment = Experiment("sweep", tune.Trainable, storage_path=str(folder))
    spec = dict(experiment.spec) | {"config": {"a": 1}}
    trial = _create_trial_from_spec(spec, _make_parser(), trial_id="key-0", experiment_tag="key-0")
    assert isinstance(trial, Trial)
    assert (trial.trial_id, trial.config, trial.status) == ("key-0", {"a": 1}, Trial.PENDING)
    assert trial.run_metadata.num_failures == 0


def test_a_python_in_a_path_with_blanks_gets_to_a_shell_as_it_is() -> None:
    """So `connected_ray` quotes it; should Ray do that one day, it must not be done twice."""
    command: list[str] = []

    def exec(file: str, args: list[str]) -> None:
        command.extend(args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "execvp", exec)
        RuntimeEnvContext(py_executable="'/my venv/python'").exec_worker(["a b.py"], Language.PYTHON)
    assert command[-1].endswith("exec '/my venv/python' 'a b.py'")


@pytest.mark.ray
def test_draining_nodes_are_told_by_their_ids(cluster: None) -> None:
    assert ray._private.state.state.get_draining_nodes() == {}
    assert ray.get_runtime_context().get_node_id() in {node["NodeID"] for node in ray.nodes()}


@pytest.mark.ray
def test_rays_own_processes_are_ours_to_end(cluster: None) -> None:
    processes = ray._private.worker._global_node.all_processes
    assert {"raylet", "gcs_server"} <= set(processes)
    for found in processes.values():
        assert all(callable(process.process.kill) for process in found)


@pytest.mark.ray
def test_a_ray_started_here_is_on_this_machine_alone(cluster: None) -> None:
    """By a switch of Ray's that is no public one: without it, the machine's network takes the run down with it."""
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    listening = [
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 2
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_the_switch_to_the_machine_alone_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who joins a cluster from this process later needs the machine's own address."""
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    with cluster_module._on_loopback():
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
        assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert ray_constants.ENABLE_RAY_CLUSTER is True
