"""`nbsp-ray clean`: what of a results root can go, and, with `--yes`, letting it go."""

from typing import Annotated

import typer

from nbsp_ray.folders import remove_stale
from nbsp_ray.status import sweep_status
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.store.cleaning import Freeable, free, freeable
from nbsp_ray.units import gb
from nbsp_ray.verbs._common import Overrides, Root, existing_store, load_plan, say, short

TEMPORARY = "temporary folders of killed runs on this machine"


def command(
    sweep: Annotated[
        str | None, typer.Argument(help="A sweep, whose buffers that no unfinished trial needs can go too.")
    ] = None,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
) -> None:
    """Show what can be freed in a results root and of what killed runs left on this machine; free it with --yes.

    A phase whose buffer is gone stays done; if a new trial needs the buffer, the phase is trained anew.
    """
    store = existing_store(root)
    found = freeable(store, _buffers(sweep, overrides, store) if sweep else ())
    temporary = remove_stale(remove=False)
    for why in dict.fromkeys(one.why for one in found):
        of_it = [one for one in found if one.why == why]
        typer.echo(f"{gb(_size(of_it)):>10}  {len(of_it)} x {why}")
    if temporary:
        where = ", ".join(str(path) for path, _ in temporary)
        typer.echo(f"{gb(sum(size for _, size in temporary)):>10}  {len(temporary)} x {TEMPORARY}: {where}")
    total = gb(_size(found) + sum(size for _, size in temporary))
    if not found and not temporary:
        say(f"Nothing in {short(store.address)} can go")
    elif yes:
        if found:
            free(Store(root, create=True), found)
        remove_stale()
        say(f"{total} freed")
    else:
        say(f"{total} can be freed, and nothing was removed: say --yes")


def _size(found: list[Freeable]) -> int:
    return sum(one.bytes for one in found)


def _buffers(sweep: str, overrides: list[str] | None, store: Store) -> list[str]:
    """Keys of phases that are done, and whose buffer no phase that is left would read."""
    _, plan = load_plan(sweep, overrides, store.address)
    status = sweep_status(plan, store)
    left = set(status.left)
    needed = {key for trial in plan.trials if left.intersection(trial.phases) for key in trial.phases}
    needed |= {need for key in left for need in plan.phases[key].spec.needs}
    return [key for key in status.done if key not in needed and plan.phases[key].keep_buffer]
