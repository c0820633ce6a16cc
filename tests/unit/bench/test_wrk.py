"""wrk's output is read as it is, and what it complains about is not lost."""

import pytest

from bench.routers import read_wrk

SAID = """Running 2s test @ http://127.0.0.1:28700/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.28ms    2.05ms  29.83ms   92.31%
    Req/Sec    18.41k     2.31k   21.90k    70.00%
  Latency Distribution
     50%  612.00us
     75%    1.11ms
     90%    2.79ms
     99%    1.01s
  36650 requests in 2.00s, 4.65MB read
Requests/sec:  18318.56
Transfer/sec:      2.32MB
"""


def test_requests_rate_and_latency_are_read_in_every_unit() -> None:
    load = read_wrk(SAID)
    assert (load.requests, load.per_second) == (36650, 18318.56)
    assert (load.p50_ms, load.p99_ms) == (0.612, 1010.0)
    assert load.wrong == ""


@pytest.mark.parametrize("complaint", [
    "Socket errors: connect 0, read 12, write 0, timeout 0",
    "Non-2xx or 3xx responses: 36650",
])  # fmt: skip
def test_a_complaint_is_kept(complaint: str) -> None:
    assert read_wrk(SAID.replace("Requests/sec", f"  {complaint}\nRequests/sec")).wrong == complaint


def test_other_text_is_refused() -> None:
    with pytest.raises(ValueError, match="wrk said nothing about"):
        read_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")
