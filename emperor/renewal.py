"""Gives the API's own container the root file system of the default distro of now."""

import sys
from pathlib import Path

from insula.emperor import local, prepare, release, service
from insula.emperor import wait as waiting
from insula.emperor.distros import builds, grounding, watching
from insula.emperor.distros.builds import Build
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError
from insula.vassals.identity import API_UID

Progress = release.Progress


def renew(node: Node, note: Progress) -> bool:
    """Clone the default distro's current build for the API and reboot its container onto it.

    Returns False when it stands there already. Raises InsulaError when the API does not answer on
    it: then it is back on the old one.
    """
    paths = node.paths
    with builds.changing(paths):
        source = builds.current(paths, node.settings.default_distro)
        old = builds.current(paths, release.DISTRO)
        if source is None or old is None:
            raise PreparationError("the node has no default distro", "run bin/up")
        new = release.clone(node, source)
        if new == old:
            return False
        note("the API's own root: a reboot of some seconds, sites go on")
        try:
            _stand_on(node, new, note)
        except (InsulaError, OSError) as error:
            note("the API does not come up on it; back to the old root")
            _stand_on(node, old, note)
            raise PreparationError(
                f"the API stays on its old root: {error}", "its logs are in container 30000"
            ) from error
    return True


def _stand_on(node: Node, build: Build, note: Progress) -> None:
    """Its release is made for that tree's Python, so it is built anew when that is another one."""
    builds.make_current(node.paths, build)
    values = prepare.tokens(node, venv=Path(sys.prefix), cpu_count=prepare.cpu_count())
    release.install(node, values, note)
    local.install(node)
    spec = grounding.specs_of(node)[API_UID]
    if service.emperor_pid(node.paths) is None:
        return
    since = grounding.move(node, spec, build)
    _wait_until_back(node, build, since)
    waiting.for_api(node, note)


def _wait_until_back(node: Node, build: Build, since: float) -> None:
    spec = grounding.specs_of(node)[API_UID]
    missing = watching.wait_until_back(
        node, spec, build, frozenset(), since=since, seconds=waiting.WAIT_SECONDS
    )
    if missing:
        raise PreparationError(missing, "insula logs 30000")
