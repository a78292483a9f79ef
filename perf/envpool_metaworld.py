"""EnvPool's Meta-World, in C++, as a yardstick for the simulator's share: env steps in a second of one CPU.

    python -m venv .envpool && .envpool/bin/pip install envpool==1.2.7      # Python 3.12 or newer; 1 GB of assets
    .envpool/bin/python perf/envpool_metaworld.py [--envs 1,8] [--seconds 3]

Stands alone. `perf/lanes.py` has the same number of ours among its floors: drawer-close, random actions, one thread.
"""

import argparse
import sys
import time

import envpool
import numpy as np

TASK = "MetaWorld/DrawerClose-v3"


def rate(envs: int, seconds: float) -> float:
    """Env steps of so many environments in one thread, by the CPU's clock: others may be at work on the machine."""
    pool = envpool.make_gymnasium(TASK, num_envs=envs, num_threads=1, seed=0)
    rng, done = np.random.default_rng(0), 0
    pool.reset()
    start = time.process_time()
    while time.process_time() < start + seconds:
        pool.step(rng.uniform(-1, 1, (envs, 4)).astype(np.float32))
        done += envs
    return done / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", default="1,8")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    for envs in map(int, given.envs.split(",")):
        sys.stdout.write(f"{envs} environments: {rate(envs, given.seconds):,.0f} env steps/s of a CPU\n")


if __name__ == "__main__":
    main()
