"""The library with which MuJoCo draws on a machine without a screen. Only films need it; learning never draws."""

import ctypes.util
import os
import re
import subprocess
import sys

from nbsp_ray.errors import NbspError

LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""Values of MUJOCO_GL, and the library that each takes: a GPU's driver or Mesa's, and Mesa on the CPU."""
DRAWING_SECONDS = 60.0
INSTALL = (
    "install one (on Debian or Ubuntu `apt-get install libegl1 libgl1-mesa-dri`, or libosmesa6 and MUJOCO_GL=osmesa); "
    "`nbsp-ray doctor` looks for them, and Atari needs none"
)


def find_renderer() -> str | None:
    """The value of MUJOCO_GL, or the first library that is here: `egl`, `osmesa`; None if there is none."""
    given = os.environ.get("MUJOCO_GL", "").strip().lower()
    if given:
        return given
    return next((name for name, library in LIBRARIES.items() if ctypes.util.find_library(library)), None)


def check_renderer() -> str:
    """The backends that MuJoCo can draw with here, as far as libraries tell.

    Raises:
        NbspError: there is nothing to draw with.
    """
    found = find_renderer()
    if found is None:
        raise NbspError(
            f"a film of Meta-World or DeepMind Control needs libEGL or libOSMesa, and neither is here: {INSTALL}"
        )
    if found not in (*LIBRARIES, "glfw"):
        raise NbspError(f"MUJOCO_GL={found} is none of {', '.join(LIBRARIES)} (without a screen) and glfw (on one)")
    if found == "glfw" and not _has_screen():
        raise NbspError(f"MUJOCO_GL=glfw draws on a screen, and DISPLAY names none here: unset MUJOCO_GL, or {INSTALL}")
    library = LIBRARIES.get(found)
    if library and ctypes.util.find_library(library) is None:
        raise NbspError(f"MUJOCO_GL={found} needs lib{library}, which is not here: {INSTALL}")
    return found


def spare_learning() -> None:
    """To be called before MuJoCo is imported, where nothing is drawn: it may not need what MUJOCO_GL names.

    Left to itself, MuJoCo loads that as it is imported, and fails where it is not here.
    """
    if os.environ.get("MUJOCO_GL") and "mujoco" not in sys.modules:
        try:
            check_renderer()
        except NbspError:
            del os.environ["MUJOCO_GL"]  # `disable` would do for MuJoCo, and not for dm_control.


DRAWING = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom type='sphere' size='.5' rgba='1 0 0 1'/></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
picture = renderer.render()
raise SystemExit("all of it is of one colour" if picture.min() == picture.max() else 0)
"""


def check_drawing(renderer: str) -> None:
    """MuJoCo really draws here: a ball, in another process, as a driver that fails may end the one it is in.

    Raises:
        NbspError: it does not.
    """
    command = [sys.executable, "-c", DRAWING]
    environment = os.environ | {"MUJOCO_GL": renderer}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DRAWING_SECONDS, check=False, env=environment
        )
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        why = next((line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)), lines[-1])
    except subprocess.TimeoutExpired as error:
        raise NbspError(f"MuJoCo has not drawn a ball in {DRAWING_SECONDS:.0f} seconds with {renderer}") from error
    if done.returncode:
        raise NbspError(f"MuJoCo cannot draw here with {renderer} ({why}): {INSTALL}")


def _has_screen() -> bool:
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def choose_renderer() -> None:
    """Tell MuJoCo how to draw, which must be before it is imported.

    Raises:
        NbspError: there is nothing to draw with.
    """
    found = check_renderer()
    if "mujoco" not in sys.modules:
        os.environ["MUJOCO_GL"] = found
