"""What comes of an announcement when the router and the gate use it: whose site, whose socket."""

import contextlib
import threading
from collections.abc import Iterator

from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap

_ASKED = 10
_PAUSE_SECONDS = 0.02


@trap
def withdraw_neighbour(made: Arena) -> str:
    """Say of the neighbour's site that it goes: with our socket, with its own, with its path."""
    secret, domain = inside.serve_site(made), made.targets.neighbour.domain
    near = made.targets.neighbour
    theirs = str(made.node.paths.apps / str(near.uid) / "sockets/site.sock")
    seen: set[int] = set()
    is_over = threading.Event()
    # its app announces itself every ten seconds: who looks too late sees it back again
    visitor = threading.Thread(target=_visit, args=(made, secret, seen, is_over))
    visitor.start()
    try:
        paths = [f"/run/sockets/../../{near.uid}/sockets/site.sock", theirs]
        code = _WITHDRAW.format(domain=domain, theirs=paths)
        said = inside.python(made, made.attacker, code)
    finally:
        is_over.set()
        visitor.join()
    if seen:
        inside.python(made, made.victim, _AGAIN.format(domain=domain))
        return f"the neighbour's site answered {sorted(seen)} after we took it away"
    raise Held(said.strip())


def _visit(made: Arena, secret: str, seen: set[int], is_over: threading.Event) -> None:
    """Ask for the neighbour's site all the time; an answer that is not its own counts."""
    while not is_over.wait(_PAUSE_SECONDS):
        status, site = inside.seen(made, made.targets.neighbour.domain)
        if status and (status, site) != (200, secret):
            seen.add(status)


_WITHDRAW = """
with Announcer() as app:
    for address in [app.own, "/run/sockets/site.sock", *{theirs}]:
        leave = Announcement("{domain}", address, app.notify, leave=True).packet()
        try:
            print(address.rpartition("/")[2], app.ask(leave, seconds=1), end="; ")
        except (Held, Silent) as error:
            print(error, end="; ")
"""


# as its app does by itself, every ten seconds; a gate that starts again is silent for a while
_AGAIN = """
with Announcer() as app:
    for _ in range(4):
        try:
            app.ask(Announcement("{domain}", "/run/sockets/site.sock", app.notify).packet())
            break
        except Silent:
            pass
"""


@trap
def link_a_socket(made: Arena) -> str:
    """Announce a socket of our own, then put a link to the neighbour's in its place."""
    secret, domain = inside.serve_site(made), made.targets.own.domain
    theirs = made.node.paths.apps / str(made.victim.uid) / "sockets/site.sock"
    # from the pool's own tree and from the router's view of it
    pool = f"{made.targets.neighbour.outside}/sockets/site.sock"
    with _announced(made, domain):
        statuses = set()
        for target in (theirs, pool, f"../../{made.victim.uid}/sockets/site.sock"):
            inside.shell(made, made.attacker, "ln", "-sfn", str(target), _FORGED)
            for _ in range(_ASKED):
                status, site = inside.seen(made, domain)
                if site == secret:
                    return f"our domain was answered by the neighbour through a link to {target}"
                statuses.add(status)
    raise Held(f"the router follows no link: it answered {sorted(statuses)}")


_FORGED = "/run/sockets/forged.sock"
_ANNOUNCE = """
import socket
server = socket.socket(socket.AF_UNIX)
Path("{path}").unlink(missing_ok=True)
server.bind("{path}")
with Announcer() as app:
    print(app.ask(Announcement("{domain}", "{path}", app.notify).packet()))
"""
_LEAVE = """
Path("{path}").unlink(missing_ok=True)
with Announcer() as app:
    app.send(Announcement("{domain}", "{path}", app.notify, leave=True).packet())
"""


@contextlib.contextmanager
def _announced(made: Arena, domain: str) -> Iterator[None]:
    words = {"domain": domain, "path": _FORGED}
    inside.python(made, made.attacker, _ANNOUNCE.format(**words))
    try:
        yield
    finally:
        inside.python(made, made.attacker, _LEAVE.format(**words))


@trap
def link_answers(made: Arena) -> str:
    """Let the gate send its answers through a link to a socket that the neighbour reads."""
    theirs = made.node.paths.apps / str(made.victim.uid) / "sockets/heard.sock"
    pool = f"{made.targets.neighbour.outside}/sockets/heard.sock"
    inside.python(made, made.victim, _LISTEN)
    try:
        for target in (str(theirs), pool):
            inside.python(made, made.attacker, _ASK_THROUGH.format(target=target))
        said = inside.shell(made, made.victim, "cat", "heard.txt")
        if said:
            return f"the neighbour read what the gate told us: {said.strip()}"
    finally:
        inside.shell(made, made.victim, "rm", "-f", "/run/sockets/heard.sock", "heard.txt")
    raise Held("the gate answers through no link")


_LISTEN = """
import signal
path = "/run/sockets/heard.sock"
Path(path).unlink(missing_ok=True)
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(path)
os.chmod(path, 0o777)
Path("heard.txt").touch()
if os.fork() == 0:
    os.setsid()
    for number in range(3):
        os.dup2(os.open("/dev/null", os.O_RDWR), number)
    signal.alarm(30)
    Path("heard.txt").write_bytes(server.recv(4096))
    os._exit(0)
"""
_ASK_THROUGH = """
with Announcer() as app:
    link = app.notify + ".link"
    os.symlink("{target}", link)
    app.send(Announcement("nobody.example.org", app.own, link).packet())
    try:
        # the gate keeps the order: when this one is answered, the other was
        app.ask(Announcement("nobody.example.org", app.own, app.notify).packet())
    except Held:
        pass
    finally:
        os.unlink(link)
"""
