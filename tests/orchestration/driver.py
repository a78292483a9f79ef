"""A driver of its own, for the tests that kill one: `python driver.py ROOT PLAN [ADDRESS]`; exits as `run` would."""

import json
import sys

from stored import small_plan

from nbsp_ray.orchestration.launch import run_plan
from nbsp_ray.store import Store


def main() -> None:
    """Run the plan whose settings are given as JSON."""
    root, settings, *address = sys.argv[1:]
    plan = small_plan(**json.loads(settings))
    outcome = run_plan(plan, Store(root, create=True), address=address[0] if address else None)
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main()
