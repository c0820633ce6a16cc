"""Drives every call of an unmodified uwsgiit-py 0.10.0; run by test_wire.py, never imported by it.

Takes what it needs as JSON on its command line and prints one line of JSON for each call: its name,
the status, what the client thinks of it, and the parsed body.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from uwsgiit.api import UwsgiItAlarmLevel, UwsgiItClient  # type: ignore[import-not-found]  # installed by the test


def main() -> None:
    given = json.loads(sys.argv[1])
    client = UwsgiItClient(given["user"], given["password"], given["url"])
    stranger = UwsgiItClient(None, None, given["url"])
    uid, other = given["uid"], given["other"]

    def show(name: str, call: Callable[..., Any], *words: Any, **more: Any) -> Any:
        answer = call(*words, **more)
        body = answer.json()
        print(
            json.dumps(
                {
                    "name": name,
                    "status": answer.status_code,
                    "uerror": answer.uerror,
                    "body": body,
                    "cookies": len(answer.cookies),
                }
            )
        )
        return body

    show("stranger news", stranger.news)
    show("stranger me", stranger.me)
    show("news", client.news)
    show("me", client.me)
    show("update_me", client.update_me, {"company": "Dogs", "email": "a@x.org,b@x.org"})
    _containers(client, show, uid, other)
    _domains(client, show, given["domain"])
    _loopboxes(client, show, uid)
    _alarms(client, show, uid)
    for metric in ("io.read", "io.write", "net.rx", "net.tx", "cpu", "mem", "quota"):
        show(f"container_metric {metric}", client.container_metric, uid, metric)
    show("container_metric with a day", client.container_metric, uid, "cpu", {"day": 1})
    show("update_me password", client.update_me, {"password": "changed: it"})
    show("me with the old password", client.me)
    client.password = "changed: it"
    show("me with the new password", client.me)


def _containers(client: Any, show: Callable[..., Any], uid: int, other: int) -> None:
    distros = show("distros", client.distros)
    show("containers", client.containers)
    show("container", client.container, uid)
    show("container as text", client.container, str(uid))
    show("container of nobody", client.container, 39999)
    tag = show("create_tag", client.create_tag, "mytag")
    show("create_tag again", client.create_tag, "mytag")
    show("list_tags", client.list_tags)
    show("update_container", client.update_container, uid, {"tags": ["mytag"], "note": "n"})
    show("containers by tag", client.containers, tags=["mytag", "other"])
    show("container_set_keys", client.container_set_keys, uid, ["ssh-rsa miao"])
    show("container_set_distro", client.container_set_distro, uid, distros[0]["id"])
    show("link", client.update_container, uid, {"link": str(other)})
    show("link again", client.update_container, uid, {"link": str(other)})
    show("unlink", client.update_container, uid, {"unlink": str(other)})
    show("reboot_container", client.reboot_container, uid)
    made = {"server": "127.0.0.1", "name": "Made by wire", "memory": 64, "storage": 64}
    show("post containers", client.post, "containers", made)
    show("post too much", client.post, "containers", made | {"memory": 1 << 40})
    show("delete_tag", client.delete_tag, tag["id"])


def _domains(client: Any, show: Callable[..., Any], domain: str) -> None:
    show("add_domain unproven", client.add_domain, "unproven.example.com")
    show("add_domain malformed", client.add_domain, "x/../../../etc/a." + domain)
    added = show("add_domain", client.add_domain, domain)
    show("add_domain again", client.add_domain, domain.upper())
    show("domains", client.domains)
    show("domain", client.domain, added["id"])
    show("update_domain", client.update_domain, added["id"], {"note": "mine"})
    show("domains by tag", client.domains, tags=["mytag"])
    for metric in ("net.rx", "net.tx", "hits"):
        show(f"domain_metric {metric}", client.domain_metric, added["id"], metric)
    show("delete_domain", client.delete_domain, domain)
    show("delete_domain again", client.delete_domain, domain)


def _loopboxes(client: Any, show: Callable[..., Any], uid: int) -> None:
    made = show("create_loopbox", client.create_loopbox, uid, "box.img", "mnt/box", readonly=True)
    show("loopboxes", client.loopboxes, container=uid)
    show("loopboxes by tag", client.loopboxes, tags=["mytag"])
    show("loopbox", client.loopbox, made["id"])
    show("update_loopbox", client.update_loopbox, made["id"], {"tags": []})
    show("delete_loopbox", client.delete_loopbox, made["id"])


def _alarms(client: Any, show: Callable[..., Any], uid: int) -> None:
    query = {"class": "c", "color": "#aabbcc", "level": UwsgiItAlarmLevel.LOG, "line": 7}
    made = show("create_alarm", client.create_alarm, uid, "it broke", query)
    show("create_alarm forged", client.create_alarm, uid, "x", {"level": 0})
    show("alarms", client.alarms, {"container": uid, "with_total": 1, "range": "0-10"})
    show("alarms malformed", client.alarms, {"range": "6-"})
    show("alarm", client.alarm, made["id"])
    show("create_alarm_key", client.create_alarm_key, uid)
    show("delete_alarm", client.delete_alarm, made["id"])


main()
