"""How passwords are kept: Argon2id with little memory, because the API's container has little."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """19 MiB and two rounds, OWASP's least; Django's 100 MiB would end the API at six logins."""

    time_cost = 2
    memory_cost = 19456
    parallelism = 1
