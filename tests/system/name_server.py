"""A name server for one TXT record: `python name_server.py PORT NAME VALUE`, on 127.0.0.1.

Runs in the API's container, by the API's own Python: the proof of a domain takes real packets.
"""

import socket
import sys

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


def main() -> None:
    port, name, value = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        print("ready", flush=True)
        while True:
            data, address = server.recvfrom(4096)
            question = dns.message.from_wire(data)
            said = dns.message.make_response(question)
            asked = question.question[0].name
            if str(asked) == f"{name}.":
                said.answer.append(dns.rrset.from_text(asked, 60, "IN", "TXT", f'"{value}"'))
            else:
                said.set_rcode(dns.rcode.NXDOMAIN)
            server.sendto(said.to_wire(), address)


main()
