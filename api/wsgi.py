"""What uWSGI loads: brings the database up to date, then hands over Django's application.

While the database cannot be used there is no application, and every request is told why: the
process neither makes an empty database in place of a lost one nor floods the log with restarts.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler
from django.db import DatabaseError

RETRY_SECONDS = 1.0


class Application:
    """Django's application; without a database a refusal, until the database is back."""

    def __init__(self) -> None:
        from insula.api.watchdog import Watchdog

        self.watchdog = Watchdog()
        self.django: WSGIHandler | None = None
        self.reason: Exception | None = None
        self.tried = 0.0
        self.loading = threading.Lock()
        self.load()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        from insula.api import database

        if self.django is None and time.monotonic() - self.tried > RETRY_SECONDS:
            self.load()
        if self.django is None:
            return self._refuse(start_response)
        if not database.is_in_place():
            # What this process has open is no longer the database: begin again with what there is.
            self._begin_again()
            return self._refuse(start_response)
        with self.watchdog.request():
            answer: Iterable[bytes] = self.django(environ, start_response)
        return answer

    def load(self) -> None:
        """Open the database; what stands in the way is logged once and kept as the reason."""
        from insula.api import backups, faults
        from insula.api.errors import ApiError

        with self.loading:
            # The thread that held the lock before us has done it.
            if self.django is not None:
                return
            try:
                _open()
            except (ApiError, DatabaseError, OSError) as error:
                found = error if isinstance(error, ApiError) else faults.meaning(error) or error
                if str(found) != str(self.reason):
                    logging.getLogger("insula.api").error("no database: %s", found)
                self.reason = found
            else:
                self.django = WSGIHandler()
                backups.start()
                self.watchdog.start()
            self.tried = time.monotonic()

    def _begin_again(self) -> None:
        from insula.api.errors import ApiError, Code

        text = "the database was removed or replaced while the API ran"
        hint = "the API starts again: ask once more in some seconds, then it says what to do"
        self.reason = ApiError(Code.DATABASE, text, hint)
        logging.getLogger("insula.api").error("%s, starting again", text)
        try:
            import uwsgi  # type: ignore[import-untyped]  # exists inside uWSGI alone
        except ImportError:
            return
        uwsgi.reload()

    def _refuse(self, start_response: Any) -> Iterable[bytes]:
        from insula.api.errors import ApiError, Code
        from insula.api.problem import problem

        reason = self.reason
        if not isinstance(reason, ApiError):
            reason = ApiError(Code.DATABASE, f"the database cannot be used: {reason}")
        answer = problem(reason)
        start_response(f"{answer.status_code} {answer.reason_phrase}", list(answer.items()))
        return [answer.content]


def _open() -> None:
    """Check the database, back it up before migrations and apply them.

    Under a lock: both vassals start at once, one of them migrates. The kernel drops the lock with
    its holder, and SQLite rolls a half-done migration back.
    """
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    from insula.api import backups, database

    file = database.path()
    if file is None:
        return
    with file.with_name(f"{file.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        marker, installation = settings.DATABASE_MARKER, settings.INSTALLATION
        has_content = database.check(file, marker=marker, installation=installation)
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            if has_content:
                backups.make("migration")
            call_command("migrate", interactive=False, verbosity=1)
            # Now it has a header that can say whose it is.
            database.check(file, marker=marker, installation=installation)
        database.remember_opened(file)
    # uWSGI forks its workers after this; a connection must not be shared with them.
    connection.close()


# DJANGO_SETTINGS_MODULE is set in the vassal files.
django.setup(set_prefix=False)
application = Application()
