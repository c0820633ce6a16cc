"""Makes system calls under the filter in a process of its own; as root, so it alone refuses.

Run by test_syscalls.py: reads a JSON list of [machine, number, arguments], prints a list of errno
(0 when the call worked).
"""

import ctypes
import json
import mmap
import subprocess
import sys
from pathlib import Path

from insula.emperor.kernel import libc, syscalls
from insula.emperor.kernel.privileges import PR_SET_NO_NEW_PRIVS

# int call(int number, int first, int second, int third): the arguments come in edi, esi, edx, ecx
# and go to eax, ebx, ecx, edx; `int 0x80` is the door of 32-bit programs, open to 64-bit ones.
_INT_80 = bytes.fromhex("53 89f8 89f3 87ca cd80 5b c3")

Call = tuple[str, int, list[int]]


def errors(program: bytes | None, calls: list[Call]) -> list[int]:
    """The errno of each call under the filter, or without any."""
    done = subprocess.run(
        [sys.executable, __file__, (program or b"").hex()],
        input=json.dumps(calls), capture_output=True, text=True, timeout=60, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    found: list[int] = json.loads(done.stdout)
    return found


def _native(number: int, arguments: list[int]) -> int:
    c_library = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    values = [ctypes.c_long(value) for value in arguments]
    answer = c_library.syscall(ctypes.c_long(number), *values)
    return ctypes.get_errno() if answer == -1 else 0


def _through_int_80(number: int, arguments: list[int]) -> int:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(_INT_80)
    place = ctypes.addressof(ctypes.c_char.from_buffer(code))
    function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 4)(place)
    answer = int(
        function(number, *[ctypes.c_int(value).value for value in (arguments + [0] * 3)[:3]])
    )
    return -answer if -4096 < answer < 0 else 0


def _main(program: bytes) -> None:
    calls: list[Call] = json.load(sys.stdin)
    if program:
        libc.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, about="no new privileges")
        syscalls.apply_filter(program)
    found = [
        _through_int_80(number, arguments) if machine == "i386" else _native(number, arguments)
        for machine, number, arguments in calls
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    _main(bytes.fromhex(sys.argv[1]))
