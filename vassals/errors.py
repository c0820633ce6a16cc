"""The errors of the product: every one carries a message and, where there is one, a remedy.

InsulaError
├── InvalidValue      a value that crosses a boundary does not have its form
├── GrammarError      a vassal file has a line that the closed grammar does not know
└── (each package's errors.py adds its own kinds below InsulaError)
"""


class InsulaError(Exception):
    """What went wrong, and what to do about it.

    ``main()`` of every command prints ``error: <message>`` and ``(<hint>)`` and exits with
    ``exit_code``: 1 failed, 2 usage, 3 forbidden, 4 not found, 5 conflict, 6 timed out waiting.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidValue(InsulaError):
    """A value does not have its form; the message starts with the path to the value."""

    exit_code = 2


class GrammarError(InsulaError):
    """A vassal file holds a line that is not in the closed grammar."""
