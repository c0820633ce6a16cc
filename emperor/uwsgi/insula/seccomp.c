/*
 * The system call filter as two hooks: the file is read while the host's files are still in sight, and
 * what was read counts from the moment on when the container's uid is there.
 *
 *   seccomp-read:PATH     read the filter: an array of struct sock_filter
 *   seccomp:              put it on this process and all that come from it; needs no_new_privs
 */
#include <uwsgi.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

int insula_hook_seccomp_read(char *path);
int insula_hook_seccomp(char *unused);

static struct sock_filter instructions[BPF_MAXINSNS];
static size_t instruction_count;

int insula_hook_seccomp_read(char *path) {
	int ret = -1;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st)) {
		uwsgi_error_open(path);
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022) || st.st_size <= 0 ||
		(size_t) st.st_size > sizeof(instructions) || st.st_size % sizeof(*instructions)) {
		uwsgi_log("seccomp-read: %s is not root's own filter\n", path);
		goto out;
	}
	if (read(fd, instructions, (size_t) st.st_size) != st.st_size) {
		uwsgi_error("seccomp-read:/read()");
		goto out;
	}
	instruction_count = (size_t) st.st_size / sizeof(*instructions);
	ret = 0;
out:
	if (fd >= 0) close(fd);
	return ret;
}

int insula_hook_seccomp(char *unused) {
	(void) unused;
	struct sock_fprog program = {(unsigned short) instruction_count, instructions};
	/* without instructions the kernel answers EINVAL: no container starts without its filter */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0)) {
		uwsgi_error("seccomp:/prctl()");
		return -1;
	}
	return 0;
}
