"""A request of the API that hangs ends its process, which says where it hung."""

import subprocess
import sys

import pytest

from insula.api.watchdog import EXIT_STATUS

pytestmark = pytest.mark.kernel

HANGING = """
import sys, threading, time, ctypes
from insula.api.watchdog import Watchdog
dog = Watchdog(hung_seconds=1.0, look_seconds=0.2)
dog.start()
def stuck_here():
    with dog.request():
        {how}
threading.Thread(target=stuck_here, daemon=True).start()
for _ in range({others}):
    with dog.request():
        time.sleep(0.01)
time.sleep(30)
"""


@pytest.mark.parametrize(
    ("how", "status"),
    [
        pytest.param("threading.Event().wait()", EXIT_STATUS, id="waits for ever"),
        # The watchdog's own thread never comes to its turn.
        pytest.param("ctypes.PyDLL(None).sleep(60)", 1, id="holds the interpreter"),
    ],
)
def test_a_process_with_a_hanging_request_ends_and_says_where(how: str, status: int) -> None:
    """Others that come and go beside it do not hide it."""
    done = subprocess.run(
        [sys.executable, "-c", HANGING.format(how=how, others=200)],
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "in stuck_here" in done.stderr
