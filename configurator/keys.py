"""The signing keys of the customers whose containers run here, kept in memory alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from insula.emperor.daemon import http
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.vassals.spec import DesiredState

API_CUSTOMER = 0
# Short: after a reboot of the machine no app can announce itself before its key is here.
RETRY_SECONDS = 0.5
MISSING_RETRY_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0

Ask = Callable[[], object]


def ask_operator(socket_path: Path) -> Ask:
    """The real question: only root reaches the operator's socket."""
    return lambda: http.call(
        socket_path, "GET", "/api/v1/node/signing-keys", timeout=TIMEOUT_SECONDS
    )


@dataclass
class KeyStore:
    """Private keys by customer; asks again only for a customer or public key that is new."""

    ask: Ask
    log: Log
    local_key: Path
    _private: dict[int, str] = field(default_factory=dict, repr=False)
    _public: dict[int, str] = field(default_factory=dict)
    _not_before: float = 0.0

    def keys(self, desired: DesiredState, *, now: float) -> dict[int, str]:
        """The keys of all customers with a running container, as far as the API gives them.

        An API that does not answer holds nobody up: the container boots, its key comes later. A key
        that was replaced since is none: the gate refuses what it signs.
        """
        public = {item.id: item.public_key_pem for item in desired.customers}
        wanted = {spec.customer_id for spec in desired.containers if spec.state == "running"}
        others = wanted - {API_CUSTOMER}
        unknown = {item for item in others if self._public.get(item) != public.get(item, "")}
        if unknown and now >= self._not_before:
            self._fetch({item: public.get(item, "") for item in unknown}, now)
        if API_CUSTOMER in wanted and API_CUSTOMER not in self._private:
            self._read_local()
        return {
            item: self._private[item]
            for item in wanted
            if item in self._private
            and (item == API_CUSTOMER or self._public.get(item) == public.get(item, ""))
        }

    def is_complete(self, desired: DesiredState) -> bool:
        """True when no customer with a running container waits for its key."""
        public = {item.id: item.public_key_pem for item in desired.customers}
        return all(
            self._public.get(spec.customer_id) == public.get(spec.customer_id, "")
            for spec in desired.containers
            if spec.state == "running" and spec.customer_id != API_CUSTOMER
        )

    def _fetch(self, public: dict[int, str], now: float) -> None:
        try:
            answer = _read_keys(self.ask())
        except FeedError as error:
            self._not_before = now + RETRY_SECONDS
            self.log.warning("signing keys not fetched", error=error.message)
            return
        self._private |= answer
        # The API answers for those who have containers: whoever is left out is asked for again.
        self._public |= {item: pem for item, pem in public.items() if item in answer}
        missing = sorted(set(public) - set(answer))
        self._not_before = now + MISSING_RETRY_SECONDS if missing else 0.0
        if missing:
            self.log.warning("the API has no signing key", customers=missing)

    def _read_local(self) -> None:
        try:
            self._private[API_CUSTOMER] = self.local_key.read_text()
        except OSError as error:
            self.log.warning("the API's signing key cannot be read", error=str(error))


def _read_keys(answer: object) -> dict[int, str]:
    keys = answer.get("keys") if isinstance(answer, dict) else None
    if not isinstance(keys, dict):
        raise FeedError("the answer with the signing keys has not its form")
    found: dict[int, str] = {}
    for number, pem in keys.items():
        if not (isinstance(number, str) and number.isdecimal() and isinstance(pem, str)):
            raise FeedError("the answer with the signing keys has not its form")
        if not pem.startswith("-----BEGIN ") or len(pem) > 16384:
            raise FeedError(f"the signing key of customer {number} is not in PEM")
        if int(number) != API_CUSTOMER:
            found[int(number)] = pem
    return found
