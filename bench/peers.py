"""Measures Insula beside podman, LXC, systemd-nspawn, bubblewrap, nginx and haproxy, in one run.

Run as root from the checkout on a quiet machine with a running node:
``python -m bench.peers --root DIR --install``. All containers have the same root tree and run the
same app; all routers reach the same back end. Rounds are interleaved, so that a slow moment hits
everybody. Figures are medians with quartiles; ``×`` is the ratio to Insula. A peer that cannot run
says why and stops nobody.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import machine
from bench.engines import (
    MARK,
    Bubblewrap,
    CannotRun,
    Engine,
    Lxc,
    Nspawn,
    Place,
    Podman,
    end_leftovers,
    remove_cgroups,
    run,
)
from bench.figures import Board, as_markdown, as_text, placed
from bench.node import Bench, make_customers
from bench.ours import Insula
from bench.routers import Haproxy, Nginx, OurRouter, Router, Routers

PLACE = Path("/var/tmp/insula-peers")
PROCESS, APP = "start until its process runs, ms", "start until the app answers HTTP, ms"
ENTER, STOP = "a command inside, ms", "stop, ms"
IN_A_ROW, TWO_AT_ONCE = "starts a second, one after the other", "starts a second, two at a time"
MEMORY, PSS = "idle container, of available memory, MB", "idle container, PSS, MB"
ENGINES = ("podman-crun", "podman-runc", "lxc", "nspawn", "bubblewrap")
ROUTERS = ("nginx", "haproxy")


def main() -> None:
    options = _options()
    if options.install:
        install(options.peers)
    about = machine.description()
    containers, routers = Board("Insula"), Board("Insula")
    features: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        key = Path(scratch) / "id"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
        bench = Bench(options.root, options.ssh_port, key)
        place = Place(options.place)
        sweep(place)
        if chosen := [name for name in ENGINES if name in options.peers]:
            make_customers(bench)
            place.fill(options.root / "var/lib/insula/pool/distros/default")
            ours = Insula(place, bench)
            engines = [ours, *(_engine(name, place) for name in chosen)]
            try:
                measure_containers(containers, engines, options)
            finally:
                _clean_all(engines)
            features |= {engine.name: engine.features for engine in engines}
            about |= {"engines": _versions(engines)}
        if chosen := [name for name in ROUTERS if name in options.peers]:
            with Routers(place.path / "routers", options.root, key) as world:
                contestants: list[Router] = [OurRouter(world)]
                if "nginx" in chosen:
                    contestants += [Nginx(world, speaks="uwsgi"), Nginx(world, speaks="http")]
                if "haproxy" in chosen:
                    contestants.append(Haproxy(world))
                world.measure(routers, contestants, rounds=options.rounds, seconds=options.seconds)
                about |= {"routers": world.versions(contestants)}
        report(about, features, [containers, routers], options)
        sweep(place)


def install(peers: list[str]) -> None:
    """Install the chosen peers' Debian packages; none of them is started."""
    wanted = {"podman-crun": ("podman", "crun"), "podman-runc": ("podman", "runc"),
              "lxc": ("lxc",), "nspawn": ("systemd-container",), "bubblewrap": ("bubblewrap",),
              "nginx": ("nginx-light", "wrk"), "haproxy": ("haproxy", "wrk")}  # fmt: skip
    packages = sorted({package for peer in peers for package in wanted[peer]})
    known = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages],
        capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    absent = [package for package in packages if f"{package} installed" not in known]
    if not absent:
        return
    print(f"installing {', '.join(absent)}", file=sys.stderr)
    # invoke-rc.d starts nothing in a runlevel where the service is off.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    words = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends",
             "-oDPkg::Lock::Timeout=120"]  # fmt: skip
    done = subprocess.run([*words, *absent], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: {done.stderr.strip()}\n(run apt-get update, then this again)")


def _engine(name: str, place: Place) -> Engine:
    makers: dict[str, Callable[[], Engine]] = {
        "podman-crun": lambda: Podman(place, "crun"),
        "podman-runc": lambda: Podman(place, "runc"),
        "lxc": lambda: Lxc(place),
        "nspawn": lambda: Nspawn(place),
        "bubblewrap": lambda: Bubblewrap(place),
    }
    return makers[name]()


def measure_containers(board: Board, engines: list[Engine], options: argparse.Namespace) -> None:
    """In each round one after the other: start, enter, stop; then many for rate and memory."""
    able = []
    for engine in engines:
        board.contestants.append(engine.name)
        if absent := engine.missing():
            for figure in (PROCESS, APP, ENTER, STOP, IN_A_ROW, TWO_AT_ONCE, MEMORY, PSS):
                board.cannot(figure, engine.name, f"{', '.join(absent)} missing; use --install")
        else:
            able.append(engine)
    for number in range(options.runs):
        for engine in able:
            _tell(f"containers, round {number + 1} of {options.runs}: {engine.name}")
            _one_life(board, engine, f"{MARK}{os.getpid()}-a{number}")
            _app_life(board, engine, f"{MARK}{os.getpid()}-b{number}")
    for engine in able:
        _tell(f"{options.containers} containers: {engine.name}")
        _many(board, engine, options.containers)


def _one_life(board: Board, engine: Engine, name: str) -> None:
    with _Said(board, engine, (PROCESS, ENTER, STOP)):
        board.add(PROCESS, engine.name, _ms(lambda: engine.start_idle(name)))
        if isinstance(engine, Insula):
            # The account that sshd looks up is written a moment after the container is up.
            machine.until(lambda: _enters(engine, name), 10, "ssh lets in")
        board.add(ENTER, engine.name, _ms(lambda: engine.enter(name)))
        board.add(STOP, engine.name, _ms(lambda: engine.stop(name)))


def _enters(engine: Engine, name: str) -> bool:
    try:
        engine.enter(name)
    except CannotRun:
        return False
    return True


def _app_life(board: Board, engine: Engine, name: str) -> None:
    with _Said(board, engine, (APP,)):
        board.add(APP, engine.name, _ms(lambda: engine.start_app(name)))
        engine.stop(name)


def _many(board: Board, engine: Engine, count: int) -> None:
    """Half of them one after the other, half two at a time; then all of them idle."""
    names = [f"{MARK}{os.getpid()}-m{number}" for number in range(count)]
    with _Said(board, engine, (IN_A_ROW, TWO_AT_ONCE, MEMORY, PSS)):
        before = machine.settled_available_mb()
        half = count // 2
        board.add(IN_A_ROW, engine.name, half / _s(lambda: [*map(engine.start_idle, names[:half])]))
        with ThreadPoolExecutor(2) as pool:
            seconds = _s(lambda: [*pool.map(engine.start_idle, names[half:])])
        board.add(TWO_AT_ONCE, engine.name, (count - half) / seconds)
        time.sleep(2)
        board.add(MEMORY, engine.name, (before - machine.settled_available_mb()) / count)
        board.add(PSS, engine.name, machine.pss_mb(engine.processes()) / count)
        for name in names:
            engine.stop(name)


class _Said:
    """Turns a peer's failure into the reason for its missing figures, and cleans up after it."""

    def __init__(self, board: Board, engine: Engine, figures: tuple[str, ...]) -> None:
        self.board, self.engine, self.figures = board, engine, figures

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, CannotRun | TimeoutError | OSError):
            return False
        for figure in self.figures:
            self.board.cannot(figure, self.engine.name, str(error) or repr(error))
        self.engine.clean()
        return True


def _ms(work: Callable[[], object]) -> float:
    return _s(work) * 1e3


def _s(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _clean_all(engines: list[Engine]) -> None:
    for engine in engines:
        try:
            engine.clean()
        except (CannotRun, OSError) as error:
            print(f"cleaning after {engine.name}: {error}", file=sys.stderr)


def sweep(place: Place) -> None:
    """Take away what this run or a killed one left."""
    for runtime in ("crun", "runc"):
        podman = Podman(place, runtime)
        if not podman.missing():
            try:
                podman.clean()
            except CannotRun as error:
                print(f"cleaning after podman: {error}", file=sys.stderr)
    Lxc(place).clean() if not Lxc(place).missing() else None
    end_leftovers()
    remove_cgroups()
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounted if m.startswith(f"{place.path}/")), reverse=True):
        run(["umount", mount])
    if place.path.exists():
        run(["rm", "-rf", "--one-file-system", str(place.path)], timeout=60)


def _versions(engines: list[Engine]) -> dict[str, str]:
    return {e.name: "not installed" if e.missing() else e.version() for e in engines}


def report(
    about: dict[str, object], features: dict[str, str], boards: list[Board],
    options: argparse.Namespace,
) -> None:  # fmt: skip
    boards = [board for board in boards if board.values]
    about["load_after"] = os.getloadavg()[0]
    for board in boards:
        print(f"\n{as_text(board.rows())}")
        for sentence in board.missing():
            print(f"  {sentence}")
    if options.json:
        whole = {"about": about, "features": features}
        whole |= {"boards": [board.as_json() for board in boards]}
        options.json.write_text(json.dumps(whole, indent=2) + "\n")
    if options.markdown:
        page = options.markdown.read_text() if options.markdown.exists() else ""
        options.markdown.write_text(placed(page, _markdown(about, features, boards)))


def _markdown(about: dict[str, object], features: dict[str, str], boards: list[Board]) -> str:
    versions: dict[str, str] = {}
    for part in ("engines", "routers"):
        found = about.get(part)
        if isinstance(found, dict):
            versions |= found
    lines = [
        f"{about['date']}, commit {about['commit']}: {about['cores']} cores ({about['cpu']}), "
        f"{about['memory_mb']} MB, {about['system']}, Linux {about['kernel']}, "
        f"cgroup {about['cgroup']}, {'with' if about['systemd'] else 'without'} systemd; "
        f"load {about['load_before']:.1f} before, {about['load_after']:.1f} after.",
        "",
    ]
    for board in boards:
        lines += [as_markdown(board.rows()), ""]
        lines += [f"* {sentence}" for sentence in board.missing()]
        lines += [""] if board.missing() else []
    lines += [f"* {name}: {versions[name]}" for name in versions]
    lines += [""] + [f"* {name} has: {text}" for name, text in features.items()] + [""]
    return "\n".join(lines)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help="the node's root")
    parser.add_argument("--ssh-port", type=int, default=2222)
    parser.add_argument("--peers", default=",".join((*ENGINES, *ROUTERS)),
                        help="some of: %(default)s")  # fmt: skip
    parser.add_argument("--runs", type=int, default=10, help="starts of each container kind")
    parser.add_argument("--containers", type=int, default=20, help="idle at once, for memory")
    parser.add_argument("--rounds", type=int, default=3, help="of each router and mode")
    parser.add_argument("--seconds", type=int, default=2, help="of load in a round")
    parser.add_argument("--place", type=Path, default=PLACE, help="for root tree and state")
    parser.add_argument("--install", action="store_true", help="install absent Debian packages")
    parser.add_argument("--json", type=Path, default=Path("bench-peers.json"))
    parser.add_argument("--markdown", type=Path, help="put the tables between a page's marks")
    options = parser.parse_args()
    options.peers = [word for word in options.peers.split(",") if word]
    if unknown := set(options.peers) - {*ENGINES, *ROUTERS}:
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}, "
                     f"{', '.join(ROUTERS)}")  # fmt: skip
    if os.geteuid() != 0:
        parser.error("containers need root: run it as root")
    return options


if __name__ == "__main__":
    main()
