"""What a shell is offered, asked as shells ask."""

from collections.abc import Callable
from pathlib import Path

import pytest

import nbsp_ray
from nbsp_ray.methods import methods
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import sweep_names

Run = Callable[..., tuple[int, str, str]]
Offered = Callable[..., list[str]]


@pytest.fixture
def offered(command_line: Run, monkeypatch: pytest.MonkeyPatch) -> Offered:
    """What bash is offered for the last word of a command line; `=` is a word of its own there."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(["nbsp-ray", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setenv("_NBSP_RAY_COMPLETE", "complete_bash")
        code, out, err = command_line()
        assert (code, err) == (0, "")
        return out.split()

    return ask


@pytest.mark.parametrize("verb", ["plan", "run", "status", "try", "report", "explore", "advise", "probe", "watch"])
def test_sweeps_in_every_verb(verb: str, offered: Offered) -> None:
    assert offered(verb, "trade") == [name for name in sweep_names() if name.startswith("trade")]


def test_settings_and_their_values(offered: Offered) -> None:
    run = ("run", "toy")
    assert offered(*run, "sac.ta") == ["sac.tau=", "sac.target_period=", "sac.target_entropy_scale="]
    # The only one comes with its default beside it, so that the shell adds no blank.
    assert offered(*run, "sac.tau") == ["sac.tau=", "sac.tau=0.005"]
    assert offered(*run, "methods", "=", "base,nbsp_c") == ["base,nbsp_critic"]
    assert offered(*run, "methods", "=") == list(methods())
    assert offered(*run, "seeds", "=", "0", "methods", "=", "bas") == ["base"]
    assert offered(*run, "methods=base,nbsp_c") == ["methods=base,nbsp_critic"]
    assert offered(*run, "first.stop", "=", "st") == ["stable", "stable_training"]
    assert offered(*run, "resources.compile", "=") == ["auto", "true", "false"]


def test_keys_of_phases(offered: Offered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBSP_RAY_ROOT", str(tmp_path))
    store = Store(tmp_path, create=True)
    keys = ["ab" + "0" * 18, "ac" + "0" * 18]
    for key in keys:
        store.files.write(f"phases/{key}/spec.json", b"{}")
    assert offered("show", "a") == keys
    assert offered("watch", "ab") == keys[:1]
    assert offered("export", "agent", "ac") == keys[1:]
    store.files.write("store.json", b'{"format": 99}')
    assert offered("show", "a") == []


def test_words_to_explain(offered: Offered) -> None:
    assert offered("explain", "sac.tau") == ["sac.tau"]
    assert {"states", "stability", "stopped"} <= set(offered("explain", "st"))


def test_the_version(command_line: Run) -> None:
    assert command_line("--version") == (0, f"nbsp-ray {nbsp_ray.__version__}\n", "")
