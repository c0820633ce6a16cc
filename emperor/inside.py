"""Runs in a mount and network namespace of its own: builds the API's environment inside its distro.

usage: python -m insula.emperor.inside TREE API RELEASE, from a namespace that nobody else sees.
"""

import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Make ``/opt/insula/releases/<RELEASE>/venv`` from the wheels beside it, offline."""
    tree, api, release = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    _mount(["--bind", str(api), str(tree / "opt/insula")])
    _mount(["--types=tmpfs", "tmpfs", str(tree / "tmp")])
    # pip and venv open /dev/null and /dev/urandom; the distro itself has no device.
    _mount(["--bind", "/dev", str(tree / "dev")])
    os.chroot(tree)
    os.chdir("/opt/insula/releases")
    place = f"/opt/insula/releases/{release}"
    _run(["/usr/bin/python3", "-m", "venv", "--without-pip", f"{place}/venv"])
    wheel = next(Path(f"{place}/wheels").glob("insula-*.whl"))
    # The distro's pip installs for the environment, which needs none of its own.
    _run(
        ["/usr/bin/python3", "-m", "pip", "--isolated", f"--python={place}/venv/bin/python",
         "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir", "--no-index",
         f"--find-links={place}/wheels", f"{wheel}[api]"]
    )  # fmt: skip


def _mount(arguments: list[str]) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _run(argv: list[str]) -> None:
    # Nothing of the host's settings: the environment inside depends on the wheels alone.
    clean = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}
    done = subprocess.run(argv, env=clean, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
