"""One contender in a process of its own: `python perf/worker.py '{"name": ..., "mode": ..., "hidden": [...]}'`.

Answers on its standard output, a JSON object a line: one when it is ready, then one for each line it is sent. Whatever
else is printed goes to standard error. A failure is an answer too.
"""

import json
import os
import re
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "stable-baselines3", "sbx-rl", "jax", "metaworld", "mujoco", "gymnasium", "ale-py")


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def answer(contender: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked."""
    if "seconds" in request:
        done, taken = contender.updates(request["seconds"])
    elif "env_steps" in request:
        done, taken = contender.steps(request["env_steps"])
    else:
        from share import milliseconds

        return {"milliseconds": milliseconds(contender)}
    return {"done": done, "seconds": taken, "megabytes": peak_megabytes()}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(data: dict[str, Any]) -> None:
        replies.write(json.dumps(data) + "\n")

    try:
        given = json.loads(sys.argv[1])
        # Before anything counts the cores.
        os.sched_setaffinity(0, {given["core"]} if "core" in given else os.sched_getaffinity(0))
        from contenders import make

        contender = make(given["name"], given["mode"], tuple(given["hidden"]))
        if given["mode"] == "startup":
            contender.first_update()
        elif given["mode"] == "steps":
            contender.steps(500 if given["name"].startswith("ours") else 510)
        else:
            contender.updates(0.5)
        say({"ready": True, "versions": versions(), "megabytes": peak_megabytes()})
        for line in sys.stdin:
            say(answer(contender, json.loads(line)))
    except Exception as error:
        traceback.print_exc()
        said = re.sub(r"\S*/(?=perf\.yaml)", "", " ".join(str(error).split()))  # Its folder is gone by now.
        say({"failed": f"{type(error).__name__}: {said[:300]}"})


if __name__ == "__main__":
    main()
