/*
 * The system call filter as two hooks: the files are read while the host's files are still in sight,
 * and what was read counts from the moment on when the container's uid is there.
 *
 *   seccomp-read:PATH PATH_32BIT   read two filters: arrays of struct sock_filter
 *   seccomp:              put one on this process and all that come from it; needs no_new_privs. The
 *                         second is for a boot on a 32-bit distro, which has personality(2) PER_LINUX32
 */
#include <uwsgi.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/personality.h>
#include <sys/prctl.h>

int insula_hook_seccomp_read(char *arg);
int insula_hook_seccomp(char *unused);

struct filter {
	struct sock_filter instructions[BPF_MAXINSNS];
	size_t count;
};

static struct filter usual, narrow;

static int read_filter(const char *path, struct filter *filter) {
	int ret = -1;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st)) {
		uwsgi_error_open(path);
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022) || st.st_size <= 0 ||
		(size_t) st.st_size > sizeof(filter->instructions) ||
		st.st_size % sizeof(*filter->instructions)) {
		uwsgi_log("seccomp-read: %s is not root's own filter\n", path);
		goto out;
	}
	if (read(fd, filter->instructions, (size_t) st.st_size) != st.st_size) {
		uwsgi_error("seccomp-read:/read()");
		goto out;
	}
	filter->count = (size_t) st.st_size / sizeof(*filter->instructions);
	ret = 0;
out:
	if (fd >= 0) close(fd);
	return ret;
}

int insula_hook_seccomp_read(char *arg) {
	int ret = -1;
	char *save = NULL;
	char *copy = uwsgi_str(arg);
	char *path = strtok_r(copy, " ", &save);
	char *path_32bit = strtok_r(NULL, " ", &save);
	if (!path || !path_32bit) {
		uwsgi_log("seccomp-read: needs PATH PATH_32BIT\n");
		goto out;
	}
	if (!read_filter(path, &usual)) ret = read_filter(path_32bit, &narrow);
out:
	free(copy);
	return ret;
}

int insula_hook_seccomp(char *unused) {
	(void) unused;
	/* this value asks and changes nothing */
	int persona = personality(0xffffffff);
	struct filter *filter = persona >= 0 && (persona & PER_MASK) == PER_LINUX32 ? &narrow : &usual;
	struct sock_fprog program = {(unsigned short) filter->count, filter->instructions};
	/* without instructions the kernel answers EINVAL: no container starts without its filter */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0)) {
		uwsgi_error("seccomp:/prctl()");
		return -1;
	}
	return 0;
}
