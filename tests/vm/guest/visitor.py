"""Asks for a page again and again until a file appears; prints each request that goes wrong.

The last line says how long the slowest request took.

usage: visitor.py HOST STOP_FILE. Times are of the monotonic clock: the wall clock jumps meanwhile.
"""

import http.client
import os
import sys
import time

PAUSE_SECONDS = 0.2
# An app that starts anew lets its visitors wait; in a guest on a busy machine that takes a while.
PATIENCE_SECONDS = 20.0


def status(host: str) -> str:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/", headers={"Host": host})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


begin = time.monotonic()
longest = 0.0
while not os.path.exists(sys.argv[2]):
    asked = time.monotonic()
    found = status(sys.argv[1])
    longest = max(longest, time.monotonic() - asked)
    if found != "200":
        print(f"{asked - begin:.1f} {found}", flush=True)
    time.sleep(PAUSE_SECONDS)
print(f"longest {longest:.2f} s")
