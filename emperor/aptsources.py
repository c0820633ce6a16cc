"""The machine's own release, package sources and network settings, as apt knows them."""

import re
import subprocess
from pathlib import Path

from insula.vassals.errors import InvalidValue

_ARCHIVE_KEYRING = re.compile(
    r"/usr/share/keyrings/(debian|ubuntu)-archive[A-Za-z0-9.-]*\.(gpg|pgp|asc)"
)
_MIRROR = re.compile(r"(https?|file|copy)://?[A-Za-z0-9._:@/~%+-]+")
_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<parts>.+)"
)
# Settings by which apt reaches its mirrors: proxies, certificates, credentials' file.
_NETWORK = re.compile(r'Acquire::https?(::[A-Za-z0-9.-]+)+ "[^"\n]*"')


def host_suite(os_release: Path = Path("/etc/os-release")) -> str:
    """The code name of the machine's release, for instance bookworm."""
    for line in os_release.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise InvalidValue(f"{os_release} names no release", "give --suite")


def line_of(mirror: str, suite: str) -> str:
    """The source line of one mirror. Raises InvalidValue when it is no address."""
    if _MIRROR.fullmatch(mirror) is None:
        raise InvalidValue(
            f"mirror: {mirror!r} is not an address", "for instance http://HOST/debian"
        )
    return f"deb {mirror} {suite} main"


def host_sources(suite: str, apt: Path = Path("/etc/apt")) -> tuple[str, ...]:
    """The machine's lines for a release, its updates and security suites; no other vendors'."""
    found: list[str] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        if path.suffix == ".sources":
            found += _from_stanzas(path.read_text(), suite)
        elif path.suffix == ".list":
            found += _from_lines(path.read_text(), suite)
    return tuple(dict.fromkeys(found))


def _from_lines(text: str, suite: str) -> list[str]:
    found = []
    for raw in text.splitlines():
        line = _LINE.fullmatch(raw.split("#", 1)[0].strip())
        if line is None or not _belongs(line["suite"], suite):
            continue
        signed = re.search(r"signed-by=(\S+)", line["options"] or "")
        if signed is None or _ARCHIVE_KEYRING.fullmatch(signed[1]):
            found.append(_line(line["uri"], line["suite"], line["parts"], signed and signed[1]))
    return found


def _from_stanzas(text: str, suite: str) -> list[str]:
    """deb822 (sources.list(5)): stanzas of ``Key: value``, several addresses and suites in each."""
    found = []
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = {
            key.strip().lower(): value.strip()
            for key, colon, value in (line.partition(":") for line in stanza.splitlines())
            if colon
        }
        signed = fields.get("signed-by")
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        if signed is not None and not _ARCHIVE_KEYRING.fullmatch(signed):
            continue
        for uri in fields.get("uris", "").split():
            for name in fields.get("suites", "").split():
                if _belongs(name, suite):
                    found.append(_line(uri, name, fields.get("components", "main"), signed))
    return found


def _belongs(name: str, suite: str) -> bool:
    return name.rstrip("/") in {suite, f"{suite}-updates", f"{suite}-security"}


def _line(uri: str, suite: str, components: str, signed: str | None) -> str:
    wanted = [part for part in components.split() if part in ("main", "universe")] or ["main"]
    option = f"[signed-by={signed}] " if signed else ""
    return f"deb {option}{uri} {suite} {' '.join(wanted)}"


def host_network_settings() -> list[str]:
    """The machine's apt settings for reaching mirrors, as lines of an apt.conf."""
    try:
        done = subprocess.run(
            ["apt-config", "dump", "--format=%f %v%n"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    return network_settings(done.stdout)


def network_settings(dump: str) -> list[str]:
    """Pick the settings with a value from ``apt-config dump``."""
    found = []
    for line in dump.splitlines():
        key, _, value = line.partition(" ")
        setting = f'{key} "{value}"'
        if value and _NETWORK.fullmatch(setting):
            found.append(setting)
    return found
