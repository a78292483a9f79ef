"""The verbs as a user meets them: what they print, and how they exit."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nbsp_ray.errors import NbspError
from nbsp_ray.store import Files
from nbsp_ray.verbs import main as cli
from nbsp_ray.verbs._common import DONE, UNFINISHED

SMALL = ["first.env_steps=500", "second.env_steps=500", "evaluation.episodes=2", "seeds=0", "methods=base"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nbsp_ray(monkeypatch: pytest.MonkeyPatch, command_line: Run, tmp_path: Path) -> Run:
    """`command_line`, with results in the test's own folder."""
    monkeypatch.setenv("NBSP_RAY_ROOT", str(tmp_path / "results"))
    return command_line


def test_plan_counts_the_paper_and_starts_nothing(nbsp_ray: Run, tmp_path: Path) -> None:
    code, out, _ = nbsp_ray("plan", "paper_metaworld", "methods=base,replay_only,nbsp,nbsp_actor,nbsp_critic", "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["trials"] == 100
    assert plan["phases"] | {"failed": 0} == {
        "first": 20,
        "second": 100,
        "done": 0,
        "failed": 0,
        "blocked": 0,
        "left": 120,
    }
    assert plan["env_steps"] == plan["env_steps_left"] == 120_000_000
    assert not (tmp_path / "results").exists()


def test_plan_for_people_names_the_next_command(nbsp_ray: Run) -> None:
    code, out, _ = nbsp_ray("plan", "toy", "seeds=0-1", "sac.hidden=[16, 16]")
    assert code == 0
    assert "Nothing was started. Run it:  nbsp-ray run toy seeds=0-1 'sac.hidden=[16, 16]'" in " ".join(out.split("\n"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "toy", "sac.gama=0.9"], "command line: 'sac.gama' is not a setting (did you mean 'sac.gamma'?)"),
        (["run", "toi"], "no sweep 'toi' (did you mean 'toy'?)"),
        (["run", "toy", "methods=nbps"], "(did you mean 'nbsp'?)"),
        (["run", "toy", "pairs=reach:slide"], "one network cannot serve reach > slide"),
        (["run", "toy", "skill_neurons=65"], "65 is more than the 64 hidden neurons"),
        (["run", "toy", "seeds="], "seeds has no value"),
        (["explain", "sac.tua"], "did you mean"),
        (["run", "atari_smoke", "pairs=Pong:Bowlin"], "'Bowlin' is not a task of atari (did you mean 'Bowling'?)"),
        (["try", "atari_smoke", "pairs=Pong:Alien"], "Pong has 4 frames of 84 x 84 and 6 discrete actions, Alien 4"),
        (["run", "atari_smoke", "evaluation.goals=heldout"], "atari has no held-out variations"),
        (["run", "atari_smoke", "evaluation.goals=both"], "atari has no held-out variations"),
    ],
)
def test_bad_usage_is_one_clear_message_and_exit_2(
    nbsp_ray: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    code, out, err = nbsp_ray(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "results").exists()


def test_an_unwritable_root_is_said_before_anything_starts(nbsp_ray: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = nbsp_ray("run", "toy", "--root", str(tmp_path / "file" / "results"))
    assert code == 2
    assert "cannot be written" in err
    assert "--root" in err


def test_an_incompatible_store_is_left_alone(nbsp_ray: Run, tmp_path: Path) -> None:
    root = tmp_path / "results"
    root.mkdir()
    (root / "store.json").write_text('{"format": 99}')
    for verb in ("run", "status", "report", "try"):
        code, _, err = nbsp_ray(verb, "toy")
        assert code == 2
        assert "written in store format 99" in err
    assert [path.name for path in root.iterdir()] == ["store.json"]


def test_a_trial_without_ray_then_status_and_report(nbsp_ray: Run, tmp_path: Path) -> None:
    assert nbsp_ray("status", "toy", *SMALL)[0] == UNFINISHED
    assert json.loads(nbsp_ray("plan", "toy", *SMALL, "--json")[1])["cost"]["cpu_hours"] > 0
    code, out, err = nbsp_ray("try", "toy", *SMALL)
    assert code == 0, err
    assert json.loads(nbsp_ray("plan", "toy", *SMALL, "--json")[1])["cost"]["cpu_hours"] == 0
    assert "first task before" in out
    assert "reach > avoid, base, seed 0: done, 500 of 500 env steps" in err
    assert nbsp_ray("status", "toy", *SMALL)[0] == DONE
    code, out, _ = nbsp_ray("status", "toy", *SMALL, "--json")
    assert code == 0
    assert [phase["state"] for phase in json.loads(out)["phases"]] == ["done", "done"]
    code, _, err = nbsp_ray("report", "toy", *SMALL)
    assert code == 0
    (report,) = (tmp_path / "results" / "reports").glob("toy@*/report.md")
    assert "reach > avoid" in report.read_text()
    assert str(report.with_suffix(".html")) in err


def test_the_first_of_several_trials_is_said(nbsp_ray: Run) -> None:
    _, _, err = nbsp_ray("try", "toy", *SMALL[:-2], "seeds=0-1", "methods=base")
    assert "Trial 1 of 2: reach > avoid, base, seed 0" in err


def test_explain_and_doctor_speak_json_too(nbsp_ray: Run) -> None:
    code, out, _ = nbsp_ray("explain", "nbsp", "--json")
    assert code == 0
    assert json.loads(out)["kind"] == "method"
    code, out, _ = nbsp_ray("doctor", "--json")
    assert {check["name"] for check in json.loads(out)} >= {"versions", "CPU", "disk", "results root", "Ray"}
    code, out, _ = nbsp_ray("explain", "--schema")
    assert json.loads(out)["title"] == "nbsp-ray sweep"


def test_help_and_plan_load_nothing_slow() -> None:
    code = (
        "import sys; from nbsp_ray.verbs import main as cli\n"
        "sys.argv = ['nbsp-ray', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'ray', 'pandas', 'mujoco', 'metaworld', 'gymnasium', 'ale_py', 'cv2'} & set(sys.modules)\n"
        "sys.exit(f'loaded {slow}' if slow else 0)"
    )
    for words in (
        ["--help"],
        ["plan", "paper_metaworld"],
        ["plan", "paper"],
        ["plan", "toy", "sac.gama=1"],
        ["status", "toy"],
        ["explain"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


# What goes wrong after the work, and beside it


def test_a_title_is_no_markup_and_a_command_is_not_wrapped(
    nbsp_ray: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    sweep = tmp_path / "x.yaml"
    sweep.write_text("title: 'a [/x] :smile:'\nbenchmark: toy\nmethods: [base]\nseeds: 0\n")
    words = ["methods=[base,nbsp]", "first.env_steps=500", "second.env_steps=500", "evaluation.episodes=2"]
    code, out, _ = nbsp_ray("plan", str(sweep), *words)
    assert code == 0
    assert "a [/x] :smile:" in out
    assert f"Run it:  nbsp-ray run {sweep} 'methods=[base,nbsp]' {' '.join(words[1:])}" in out
    code, out, err = nbsp_ray("try", str(sweep), *words)
    assert code == 0, err
    assert "a [/x] :smile:" in out


def test_the_work_keeps_its_exit_code_whatever_becomes_of_the_report(
    nbsp_ray: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import analysis

    errors: list[Exception] = [OSError(errno.ENOSPC, "full", "x.csv"), NbspError("no table"), ValueError("a bug")]
    for number, error in enumerate(errors):

        def fail(*given: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(analysis, "load", fail)
        code, _, err = nbsp_ray("try", "toy", *SMALL)
        assert code == 0
        assert "The report is not whole: " in err
        assert f"stored; `nbsp-ray report toy {SMALL[0]}" in err
        assert ("x.csv: No space left on device; make room", "no table", "a bug")[number] in err
        assert ("Traceback" in err) is isinstance(error, ValueError)


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """An environment with another package called `analysis` before ours, which breaks whoever imports it."""
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise RuntimeError('not meant')")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[2])])}


def test_a_foreign_package_of_the_name_analysis_does_not_matter(tmp_path: Path, foreign: dict[str, str]) -> None:
    words = ["advise", "toy", "--root", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "nbsp_ray", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=foreign,
    )
    assert done.returncode == cli.USAGE
    assert "has nothing of toy yet" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_notebook_it_is_ours_too_or_a_sentence_says_why_not(tmp_path: Path, foreign: dict[str, str]) -> None:
    ours = "import nbsp_ray, sys; nbsp_ray.load_results; print(sys.modules['analysis'].__file__)"
    theirs = (
        "import sys, types; m = sys.modules['analysis'] = types.ModuleType('analysis'); m.__file__ = '/x/analysis.py'\n"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=foreign)
        for code in (ours, theirs + ours)
    ]
    assert found[0].stdout.strip() == str(Path(cli.__file__).parents[2] / "analysis" / "__init__.py")
    assert "a package `analysis` of /x/analysis.py is in use in this process" in found[1].stderr


def test_an_output_that_is_closed_or_full_ends_nothing(tmp_path: Path) -> None:
    """A log on a disk that is full, or no terminal at all."""
    here = str(Path(cli.__file__).parents[2])
    for redirect, code in ((">&- 2>&-", 0), (">/dev/null 2>/dev/full", 0), (">/dev/full", cli.USAGE)):
        done = subprocess.run(
            f"{sys.executable} -m nbsp_ray plan toy {redirect}",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": here},
        )
        assert done.returncode == code, (redirect, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(errno.EACCES, "", "/r/store.json"), "/r/store.json: Permission denied; use what you may read"),
        (OSError(errno.EROFS, "", "/r/x"), "/r/x: Read-only file system; .* write elsewhere with --to or --root"),
        (OSError(errno.ENOSPC, ""), "a file or the output: No space left on device; make room"),
    ],
)
@pytest.mark.parametrize("verb", ["status", "plan", "report", "explore", "probe", "watch", "advise"])
def test_a_root_that_one_may_not_use_is_said(
    verb: str, error: OSError, says: str, nbsp_ray: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Files, name: str) -> bytes:
        raise error

    monkeypatch.setattr(Files, "read", fail)
    code, _, err = nbsp_ray(verb, "toy")
    assert code == cli.USAGE
    assert re.match(says, err)


def test_a_report_goes_elsewhere_if_asked_to(nbsp_ray: Run, tmp_path: Path) -> None:
    assert nbsp_ray("try", "toy", *SMALL)[0] == 0
    code, _, err = nbsp_ray("report", "toy", *SMALL, "--to", str(tmp_path / "mine"))
    assert code == 0
    assert (tmp_path / "mine" / "report.html").exists()
    assert str(tmp_path / "mine" / "report.html") in err
    assert not (tmp_path / "results" / "reports").exists()


@pytest.mark.parametrize("verb", ["run", "try", "plan", "status", "report"])
def test_a_root_at_an_address_of_no_known_storage_is_refused(nbsp_ray: Run, verb: str) -> None:
    code, _, err = nbsp_ray(verb, "toy", "--root", "s4://bucket/x")
    assert code == cli.USAGE
    assert err.startswith("s4://bucket/x cannot be a results root (Protocol not known: s4)")


def test_what_is_written_elsewhere_goes_to_a_folder(nbsp_ray: Run) -> None:
    code, _, err = nbsp_ray("report", "toy", "--to", "s3://bucket/x")
    assert code == cli.USAGE
    assert err.startswith("s3://bucket/x is no folder of this machine")


def test_the_status_of_a_root_that_is_not_there_says_so(nbsp_ray: Run, tmp_path: Path) -> None:
    for words in (["toy"], []):
        code, out, err = nbsp_ray("status", *words, "--root", str(tmp_path / "resluts"))
        assert code == (UNFINISHED if words else DONE)
        assert f"There is no folder {tmp_path}/resluts" in err
        assert out == ""


def test_a_trial_that_is_done_already_is_called_so() -> None:
    from nbsp_ray.learning.run import Progress
    from nbsp_ray.verbs.try_ import _progress_line

    assert _progress_line("x", Progress("done", 0, 3_000, 0, None, None)) == "x: was done already"
    assert _progress_line("x", Progress("done", 500, 3_000, 0, None, None)).startswith("x: done, 500 of 3,000")
