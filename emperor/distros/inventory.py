"""What a node has of a distro, in one row: for `insula distro list` and for the next build."""

from dataclasses import dataclass

from insula.emperor.distros import builds, making, store, upgrades
from insula.emperor.distros.builds import Facts
from insula.emperor.distros.recipe import Recipe, recipe
from insula.emperor.settings import Node


@dataclass(frozen=True, slots=True)
class Row:
    """One distro: the facts of its current build, and who uses which of its builds."""

    name: str
    build: str
    facts: Facts
    containers: tuple[int, ...]
    # those that boot on another build than the current one
    behind: tuple[int, ...]
    is_upgrading: bool
    can_roll_back: bool

    def remark(self) -> str:
        said = []
        if self.is_upgrading:
            said.append("an upgrade is not finished")
        elif self.behind:
            said.append(f"{len(self.behind)} on an older build")
        return f" ({', '.join(said)})" if said else ""

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "build": self.build,
            "suite": self.facts.suite,
            "architecture": self.facts.architecture,
            "size_bytes": self.facts.size_bytes,
            "made_at": self.facts.made_at,
            "origin": self.facts.origin,
            "minimal": self.facts.minimal,
            "include": list(self.facts.include),
            "containers": list(self.containers),
            "behind": list(self.behind),
            "upgrading": self.is_upgrading,
            "rollback": self.can_roll_back,
        }


def described(node: Node, name: str) -> Row:
    """One distro's row."""
    paths = node.paths
    current = builds.current(paths, name)
    stood_on = making.stood_on(node)
    uids = tuple(int(uid) for uid in store.users(node, name))
    known = upgrades.read(paths, name)
    return Row(
        name=name,
        build=current.name.removeprefix(".") if current else "",
        facts=builds.facts_of(paths, current) if current else Facts(),
        containers=uids,
        behind=tuple(uid for uid in uids if uid in stood_on and stood_on[uid] != current),
        is_upgrading=known is not None and known.is_open,
        can_roll_back=known is not None and known.state == "done",
    )


def recipe_of(facts: Facts) -> Recipe:
    """What a build was made from, with the package sources of now. Raises InvalidValue."""
    return recipe(
        suite=facts.wanted_suite,
        mirror=facts.mirror,
        include=facts.include,
        minimal=facts.minimal,
        architecture=facts.wanted_architecture,
    )
