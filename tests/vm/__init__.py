"""Tests in a guest: a whole stock Debian with systemd and cgroup v2."""
