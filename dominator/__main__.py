"""The dominator: the gate between the containers' announcements and the router."""

import argparse
import os
import signal
from pathlib import Path

from insula.dominator.daemon import Daemon
from insula.emperor import settings
from insula.emperor.daemon import loop
from insula.emperor.daemon.beat import Beat
from insula.emperor.daemon.log import Log
from insula.emperor.kernel import privileges
from insula.emperor.settings import DOMINATOR_UID, NODE_GID, ROUTER_UID


def main() -> None:
    loop.run(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="insula-dominator", description=__doc__)
    parser.add_argument("--root", type=Path, default=settings.root_from_environment())
    node = settings.load(parser.parse_args().root)
    _drop_rights()
    log = Log("dominator")
    stopping = loop.stop_on_signals()
    daemon = Daemon(node, log)
    daemon.start()
    beat = Beat(node.paths.beats)
    loop.forever(daemon.round, stopping=stopping, log=log, beat=beat)
    beat.end()
    daemon.stop()


def _drop_rights() -> None:
    # Started by root: the router's group lets the gate see the apps' sockets and write to the
    # router's. The Emperor's daemons cannot be given a second group.
    if os.geteuid() == 0:
        privileges.become(DOMINATOR_UID, gid=NODE_GID, groups=[ROUTER_UID])
        # a change of uid forgets the tie to the parent
        privileges.end_with_parent(signal.SIGKILL)


if __name__ == "__main__":
    main()
