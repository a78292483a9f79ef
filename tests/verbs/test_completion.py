"""What a shell is offered, asked as shells ask."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nbsp_ray
from nbsp_ray.methods import methods
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import sweep_names

CODE = "import sys; sys.argv[0] = 'nbsp-ray'; from nbsp_ray.verbs.main import main; main()"


def offered(*words: str, root: Path | None = None) -> list[str]:
    """What bash is offered for the last word; `=` is a word of its own there."""
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - (words[-1] != ""))}
    if words[-1] == "":
        asked["COMP_CWORD"] = str(len(words) - 1)
    asked["_NBSP_RAY_COMPLETE"] = "complete_bash"
    if root:
        asked["NBSP_RAY_ROOT"] = str(root)
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env=os.environ | asked
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("verb", ["plan", "run", "status", "try", "report", "explore", "advise", "probe", "watch"])
def test_sweeps_in_every_verb(verb: str) -> None:
    assert offered("nbsp-ray", verb, "trade") == [name for name in sweep_names() if name.startswith("trade")]


def test_settings_and_their_values() -> None:
    run = ("nbsp-ray", "run", "toy")
    assert offered(*run, "sac.ta") == ["sac.tau=", "sac.target_period=", "sac.target_entropy_scale="]
    # The only one comes with its default beside it, so that the shell adds no blank.
    assert offered(*run, "sac.tau") == ["sac.tau=", "sac.tau=0.005"]
    assert offered(*run, "methods", "=", "base,nbsp_c") == ["base,nbsp_critic"]
    assert offered(*run, "methods", "=") == list(methods())
    assert offered(*run, "seeds", "=", "0", "methods", "=", "bas") == ["base"]
    assert offered(*run, "methods=base,nbsp_c") == ["methods=base,nbsp_critic"]
    assert offered(*run, "first.stop", "=", "st") == ["stable", "stable_training"]
    assert offered(*run, "resources.compile", "=") == ["auto", "true", "false"]


def test_keys_of_phases(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    keys = ["ab" + "0" * 18, "ac" + "0" * 18]
    for key in keys:
        store.files.write(f"phases/{key}/spec.json", b"{}")
    assert offered("nbsp-ray", "show", "a", root=tmp_path) == keys
    assert offered("nbsp-ray", "watch", "ab", root=tmp_path) == keys[:1]
    assert offered("nbsp-ray", "export", "agent", "ac", root=tmp_path) == keys[1:]
    store.files.write("store.json", b'{"format": 99}')
    assert offered("nbsp-ray", "show", "a", root=tmp_path) == []


def test_words_to_explain() -> None:
    assert offered("nbsp-ray", "explain", "sac.tau") == ["sac.tau"]
    assert {"states", "stability", "stopped"} <= set(offered("nbsp-ray", "explain", "st"))


def test_the_version(command_line) -> None:
    assert command_line("--version") == (0, f"nbsp-ray {nbsp_ray.__version__}\n", "")
