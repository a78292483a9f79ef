#!/bin/sh
# Puts a bare GPU machine to work: needs Python 3.11 to 3.13 with a torch for its GPU, this repository, and the wheels of
# the other dependencies (perf/gpu-wheels.sh). No package index, no Ray. In order of worth, within 25 minutes:
#
#     sh perf/gpu.sh [WHEELS] [OUT]         (perf/wheels and results/gpu if not given)
#
# 1. the tests that need a GPU   2. one trial beside the reference   3. lanes' tables   4. reproduction_1 in lanes.
# Run again, it does what is not done yet, and goes on with 4. What is to be brought back is OUT.tar.xz, some MB: logs,
# tables and the results of all phases that are done. From the environment: PYTHON (python3), MINUTES (25), DEVICE (cuda
# where torch sees one), SWEEP (reproduction_1 seeds=0-4), LANES (1,64,16,4). Where a command may run for ten minutes
# only, MINUTES=9 ends in time, again and again.
set -u
here=$(cd "$(dirname "$0")/.." && pwd) && cd "$here" || exit 2
wheels=${1:-perf/wheels} out=${2:-results/gpu}
minutes=${MINUTES:-25} sweep=${SWEEP:-reproduction_1 seeds=0-4} python=${PYTHON:-python3}
began=$(date +%s)
end=$((began + minutes * 60))
mkdir -p "$out"
out=$(cd "$out" && pwd)

say() { echo "$(date +%T) $*" | tee -a "$out/log.txt"; }

# No more than `share` percent of all the time, and never beyond its end.
within() {
    share=$1 name=$2
    shift 2
    left=$((end - $(date +%s) - 60)) most=$((minutes * 60 * share / 100))
    [ "$most" -lt "$left" ] && left=$most
    if [ "$left" -lt 10 ]; then say "$name: no time left"; return; fi
    say "$name: at most $left s"
    timeout --signal=TERM --kill-after=90 "$left" "$@" >"$out/$name.txt" 2>&1
    code=$?
    say "$name: ended with $code after $(($(date +%s) - began)) s in all"
    tail -n 3 "$out/$name.txt"
}

# A measurement that was made is not made again; one that was cut off has written what it had, and is.
once() {
    if [ -e "$out/$2.done" ]; then say "$2: done before"; return; fi
    code=124
    within "$@"
    [ "$code" -eq 0 ] && touch "$out/$2.done"
}

# Beside the Python that has torch, wherever that is: an environment of its own would not see the torch of another one.
if [ ! -e "$out/packages/.ready" ]; then
    say "packages from $wheels"
    # All that is in the folder, and nothing else: what the machine has already needs no wheel.
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --upgrade \
        --target "$out/packages" "$wheels"/*.whl && touch "$out/packages/.ready" || exit 2
fi
export PYTHONPATH="$here:$here/perf:$out/packages" OMP_NUM_THREADS=1 XDG_CACHE_HOME="$out/cache"
run=$python
"$run" -c 'import sys, torch; import nbsp_ray.local, nbsp_ray.learning.run
sys.exit("Ray was loaded: learning must not need it" if "ray" in sys.modules else 0)' || exit 2
device=${DEVICE:-$("$run" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')}
"$run" -c 'import platform, torch
print(platform.python_version(), torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")' |
    tee "$out/machine.txt"
nvidia-smi >>"$out/machine.txt" 2>&1
say "device $device, $minutes minutes"

# After a capture that fails nothing in the process is to be trusted: the first failure is the one to be read.
once 16 tests "$run" -m pytest -n 0 -x -q -rs -W default tests/learning/test_execution.py tests/learning/test_lanes.py -k "captur"
[ "${code:-0}" -eq 1 ] && touch "$out/tests.failed"
graphs=true no_graphs=
if [ -e "$out/tests.failed" ]; then
    say "captured updates fail here ($out/tests.txt): all that follows goes without"
    graphs=false no_graphs=--no-graphs
fi
once 14 trial "$run" perf/gpu_trial.py --device "$device" --to "$out/trial.md"
once 22 lanes "$run" perf/lanes.py --device "$device" --lanes "${LANES:-1,64,16,4}" --packs 4 --to "$out/lanes.md" $no_graphs
once 4 host "$run" perf/lanes_host.py --lanes "${LANES:-16,64}"
once 10 compiled "$run" perf/lanes.py --device "$device" --lanes "${LANES:-64}" --compile --to "$out/lanes-compiled.md" $no_graphs
# What could not be compiled in its time is not begun again.
compile=false
[ -e "$out/compiled.done" ] && compile=auto
# A signal saves every phase where its episode ends.
# shellcheck disable=SC2086
within 100 reproduction "$run" -m nbsp_ray try $sweep "resources.device=$device" "resources.lanes=${PACK:-auto}" \
    "resources.cuda_graphs=$graphs" "resources.compile=$compile" --root "$out/results"
# shellcheck disable=SC2086
"$run" -m nbsp_ray export results $sweep --root "$out/results" --to "$out/reproduction.results.tar.xz" 2>&1 |
    tee -a "$out/log.txt"
"$run" - "$out" <<'END'
import sys, tarfile
from pathlib import Path
out = Path(sys.argv[1])
with tarfile.open(f"{out}.tar.xz", "w:xz") as archive:
    for path in sorted(out.iterdir()):
        if path.name not in ("packages", "cache", "results"):
            archive.add(path, path.name)
END
say "bring back $out.tar.xz ($(du -h "$out.tar.xz" | cut -f1)); the same command goes on with the reproduction"
