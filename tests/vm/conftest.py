"""A guest for each suite, and the table of what was measured in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.vm.guest import Guest, build_image, guest

SUITES = ("bookworm", "trixie")


@dataclass(slots=True)
class Results:
    """The times of a guest's steps, in the order in which they were taken."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, suite: str, step: str, value: float | str) -> None:
        shown = f"{value:.1f} s" if isinstance(value, float) else value
        self.rows.append((suite, step, shown))


_RESULTS = Results()


@pytest.fixture(scope="session")
def results() -> Results:
    return _RESULTS


@pytest.fixture(scope="session", params=SUITES)
def machine(request: pytest.FixtureRequest, results: Results) -> Iterator[Guest]:
    """A freshly booted stock Debian; all tests follow one another in it, file by file."""
    suite = str(request.param)
    build_image(suite)
    with guest(suite) as running:
        results.add(suite, "boot to ssh", running.boot_seconds)
        results.add(suite, "systemd", running.run("systemctl --version | head -n 1").stdout.strip())
        results.add(suite, "OpenSSH", running.run("ssh -V 2>&1").stdout.split(",")[0].strip())
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _RESULTS.rows:
        return
    terminalreporter.section("guests")
    for suite, step, value in _RESULTS.rows:
        terminalreporter.write_line(f"{suite:<10} {step:<50} {value:>12}")
