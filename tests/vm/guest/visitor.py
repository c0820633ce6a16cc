"""Asks for a page again and again until a file appears; prints each request that goes wrong.

usage: visitor.py HOST STOP_FILE. Times are of the monotonic clock: the wall clock jumps meanwhile.
"""

import http.client
import os
import sys
import time

PAUSE_SECONDS = 0.2


def status(host: str) -> str:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
        connection.request("GET", "/", headers={"Host": host})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


begin = time.monotonic()
while not os.path.exists(sys.argv[2]):
    found = status(sys.argv[1])
    if found != "200":
        print(f"{time.monotonic() - begin:.1f} {found}", flush=True)
    time.sleep(PAUSE_SECONDS)
