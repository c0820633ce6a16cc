/* What a session keeps of its rights. */
#pragma once
#include <stdbool.h>

/* in sshd's small root, beside the module: arrays of struct sock_filter (seccomp(2)) */
#define INSULA_FILTER "/insula/seccomp.bpf"
#define INSULA_FILTER_32BIT "/insula/seccomp-32bit.bpf"

/* Read a system call filter while sshd's own root is still in sight; false unless it is root's own,
 * and whole. */
bool insula_read_filter(const char *path);

/* Keep these capabilities alone, gain none, and make the system calls alone that the filter
 * allows. */
bool insula_drop_privileges(unsigned kept);
