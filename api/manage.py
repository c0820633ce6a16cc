"""Django's command line for the API's operators: `insula-manage`."""

import sys


def main() -> None:
    """Run one management command."""
    # Named on the command line, because only settings.py touches the environment.
    sys.argv[2:2] = ["--settings=insula.api.settings"] if len(sys.argv) > 1 else []
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
