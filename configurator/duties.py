"""When each of the configurator's duties is due, in pure code; seconds are monotonic."""

from dataclasses import dataclass

FULL_SECONDS = 300.0
USAGE_SECONDS = 30.0
REPORT_SECONDS = 60.0
RETRY_SECONDS = 10.0
# A signal and a new local.json are seen within this time.
NAP_SECONDS = 1.0


@dataclass(slots=True)
class Duties:
    """The next time of each duty; at the start all of them are due."""

    full: float = 0.0
    retry: float = 0.0
    usage: float = 0.0
    report: float = 0.0

    def is_full_due(self, now: float) -> bool:
        return now >= self.full

    def is_retry_due(self, now: float, *, has_errors: bool) -> bool:
        return has_errors and now >= self.retry

    def begin_round(self) -> float:
        """A round that fails whole is made again, in full; what ``end_round`` needs."""
        before, self.full = self.full, 0.0
        return before

    def end_round(self, now: float, *, is_full: bool, full_before: float) -> None:
        self.full = now + FULL_SECONDS if is_full else full_before
        self.retry = now + RETRY_SECONDS
        self.report = 0.0

    def take_usage(self, now: float) -> bool:
        """True when the usage is to be read now; then it is due again later."""
        is_due = now >= self.usage
        if is_due:
            self.usage = now + USAGE_SECONDS
        return is_due

    def take_report(self, now: float) -> bool:
        """True when a report is to be sent now; then it is due again later."""
        is_due = now >= self.report
        if is_due:
            self.report = now + REPORT_SECONDS
        return is_due

    def report_failed(self, now: float) -> None:
        self.report = now + RETRY_SECONDS

    def seconds_left(self, now: float, *, has_errors: bool) -> float:
        """How long nothing is due, a nap at most."""
        dues = [self.full, self.usage, self.report, *([self.retry] if has_errors else [])]
        return max(0.0, min(NAP_SECONDS, min(dues) - now))
