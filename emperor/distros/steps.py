"""Steps inside a fresh tree, before it is packed: the PyPy plug-in, no databases, what is in it."""

from hashlib import sha256
from pathlib import Path

PLUGIN = Path(__file__).parent / "plugins" / "pypy"
# Debian's packages make an empty database when they are installed; customers make their own.
_CLUSTERS = ("var/lib/mysql", "var/lib/postgresql", "etc/postgresql")


def hooks(work: Path) -> list[str]:
    """Options for mmdebstrap; ``$1`` is the tree, what the steps have to say lies in ``work``."""
    emptied = " ".join(f'"$1/{name}"/*' for name in _CLUSTERS)
    steps = (
        f"rm -rf {emptied}",
        # A plug-in that cannot be built must not keep a node from all other languages.
        f'[ ! -e "$1/usr/bin/pypy3" ] || {{ cp -r "{PLUGIN}" "$1/tmp/pypy"'
        f' && chroot "$1" sh /tmp/pypy/build.sh > "{work}/pypy.log" 2>&1'
        f' || touch "{work}/pypy.failed"; rm -rf "$1/tmp/pypy"; }}',
        f'chroot "$1" dpkg-query --show --showformat="\\${{Package}}\\n" > "{work}/installed"',
    )
    return [f"--customize-hook={step}" for step in steps]


def said(work: Path) -> list[str]:
    """What the steps could not do, a line each."""
    if not (work / "pypy.failed").exists():
        return []
    log = (work / "pypy.log").read_text(errors="replace").split("\n")
    return ["PyPy's plug-in could not be built, the distro is made without:", *log[-5:]]


def installed(work: Path) -> set[str]:
    """The names of all packages of the tree."""
    return set((work / "installed").read_text().split())


def digest() -> str:
    """Changes when the plug-in's sources do."""
    found = sha256()
    for path in sorted(PLUGIN.iterdir()):
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()
