"""The closed grammar of a vassal file: a node accepts these nine lines and nothing else.

A broken or hostile API must not run a command as root, so the node never trusts what was rendered.
In uWSGI ini files ``%`` starts a macro that can swallow a line break, ``exec:`` hooks run /bin/sh
and the first of two equal placeholders wins; none of that can be written in this grammar.
"""

import re
from pathlib import PurePosixPath

from insula.vassals import identity, names
from insula.vassals.errors import GrammarError, InvalidValue
from insula.vassals.render import Vassal

_FORM = re.compile(
    r"; Container (?P<title>[0-9]{5}): who it is\."
    r" How it boots stands in the file included below\.\n"
    r"\[uwsgi\]\n"
    r"strict = true\n"
    r"set-ph = container=(?P<uid>[0-9]{5})\n"
    r"set-ph = customer=(?P<customer>0|[1-9][0-9]{0,9})\n"
    r"set-ph = hostname=(?P<hostname>[a-z0-9-]{1,32})\n"
    r"set-ph = distro=(?P<distro>[A-Za-z0-9._-]{1,64})\n"
    r"set-ph = generation=(?P<generation>[1-9][0-9]{0,9})\n"
    r"ini = (?P<include>/[A-Za-z0-9._/-]+)\n"
)


def check(text: str, *, uid: int, container_ini: PurePosixPath) -> Vassal:
    """Read a vassal file back, or raise GrammarError that says which rule it breaks.

    ``uid`` is the container that the file is for, ``container_ini`` the only file it may include.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise GrammarError(
            f"vassal file of {uid}: does not have the nine lines of the grammar",
            "the API and this node differ in version, or the API is broken: compare both versions",
        )
    if not int(found["uid"]) == int(found["title"]) == uid or not identity.is_container_uid(uid):
        raise GrammarError(f"vassal file of {uid}: is written for container {found['uid']}")
    if found["include"] != str(container_ini):
        raise GrammarError(
            f"vassal file of {uid}: includes {found['include']}, not {container_ini}"
        )
    if not names.is_token(found["distro"]):
        raise GrammarError(f"vassal file of {uid}: {found['distro']!r} is not a distro's name")
    try:
        hostname = names.label(found["hostname"], path=f"vassal file of {uid}: hostname")
    except InvalidValue as error:
        raise GrammarError(error.message, error.hint) from error
    return Vassal(
        uid=uid,
        customer_id=int(found["customer"]),
        hostname=hostname,
        distro=found["distro"],
        generation=int(found["generation"]),
    )
