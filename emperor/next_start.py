"""What a new release leaves for the node's next start, and what that start costs."""

from dataclasses import dataclass

from insula.emperor import prepare, service
from insula.emperor.settings import Node
from insula.emperor.statistics import vassals_of

REMEDY = "at a quiet moment: insula node down, then bin/up"
# Measured on two cores: from `node down` until sites answer again, and more for each container.
_START_SECONDS = 20.0
_CONTAINER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class NextStart:
    """What waits for the next start: a new uWSGI, and files below ``<etc>`` by name."""

    has_uwsgi: bool = False
    files: tuple[str, ...] = ()
    # how long the sites are away then, roughly
    seconds: int = 0

    def __bool__(self) -> bool:
        return self.has_uwsgi or bool(self.files)

    def names(self) -> tuple[str, ...]:
        return (("uWSGI",) if self.has_uwsgi else ()) + self.files

    def sentence(self) -> str:
        """For a person: what waits and what it costs; ``REMEDY`` says what to do."""
        if not self.has_uwsgi:
            what = ", ".join(self.files)
        else:
            what = "the new uWSGI" + (f" and {len(self.files)} of its files" if self.files else "")
        wait = "waits" if len(self.files) + (1 if self.has_uwsgi else 0) == 1 else "wait"
        return (
            f"{what} {wait} for the next start: all containers boot again then,"
            f" about {self.seconds} s"
        )


def next_start(node: Node) -> NextStart:
    """Look what waits; nothing does on a node that is down, since its start takes up all."""
    running = service.running(node.paths)
    if running is None:
        return NextStart()
    count = len(vassals_of(node.paths.containers_stats))
    return NextStart(
        has_uwsgi=running.other_uwsgi,
        files=tuple(prepare.waiting(node, prepare.own_tokens(node), running)),
        seconds=round(_START_SECONDS + count * _CONTAINER_SECONDS),
    )
