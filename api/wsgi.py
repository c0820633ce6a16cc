"""What uWSGI loads: brings the database up to date, then hands over Django's application."""

import fcntl
from pathlib import Path

import django
from django.core.handlers.wsgi import WSGIHandler


def _migrate() -> None:
    """Apply missing migrations under a lock: both vassals start at once, one of them migrates.

    The kernel drops the lock with its holder, and SQLite rolls a half-done migration back.
    """
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    lock = Path(str(settings.DATABASES["default"]["NAME"]) + ".lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=1)
    # uWSGI forks its workers after this; a connection must not be shared with them.
    connection.close()


# DJANGO_SETTINGS_MODULE is set in the vassal files.
django.setup(set_prefix=False)
_migrate()
application = WSGIHandler()
