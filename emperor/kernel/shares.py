"""Who gets how much of the processors when everybody wants all: weights of cgroups, and their use.

Weights are the kernel's shares: 1024 is what an ordinary group, or session of the machine, counts.
"""

from pathlib import Path

from insula.emperor.errors import KernelError

# The containers are what the machine is for. The platform comes before them, or the processes of
# one container would stand between another's visitors and the router; it needs little.
CONTAINERS = 4096
PLATFORM = 10 * CONTAINERS
# A customer among the others, however many containers it has.
CUSTOMER = 1024
# The API's container is the platform's too; its quota bounds it.
API_CUSTOMER, API = 0, 10 * CUSTOMER


def weigh(group: Path, shares: int) -> None:
    """Set what a group counts for beside others of its level.

    Nothing happens where the group has no processor controller. Raises KernelError.
    """
    # v2 counts in hundreds, from 1 to 10000
    for name, value in (("cpu.shares", shares), ("cpu.weight", max(1, shares * 100 // 1024))):
        path = group / name
        try:
            if path.read_text().strip() != str(value):
                path.write_text(str(value))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KernelError(f"writing {value} to {path}: {error.strerror}") from error
