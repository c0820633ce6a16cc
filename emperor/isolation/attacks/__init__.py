"""What an attacker tries from inside a container. It runs there: the standard library alone."""
