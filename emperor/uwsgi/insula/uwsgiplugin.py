"""Tells uWSGI's build how to compile this plugin."""

NAME = "insula"
CFLAGS: list[str] = []
LDFLAGS: list[str] = []
LIBS: list[str] = []
GCC_LIST = ["insula", "care", "mask", "seccomp", "home"]
