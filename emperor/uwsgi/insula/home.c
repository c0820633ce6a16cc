/*
 * What a boot needs of the container's home, had as its customer: nothing there is root's business.
 *
 *   folder:PATH [ELSE]   have this directory, open to its owner; where that cannot be, the sub-Emperor
 *                        that should look at PATH looks at ELSE
 *   log:PATH             what went to the node's log goes to this file from here on
 *
 * A customer may have deleted either, closed it, or put something else there. The container boots all
 * the same, with a line in the node's log: or nobody could log in and put it right.
 */
#include <uwsgi.h>

extern struct uwsgi_server uwsgi;

int insula_hook_folder(char *arg);
int insula_hook_log(char *path);

static int is_ours(void) {
	if (geteuid() && getuid()) return 1;
	uwsgi_log("folder: and log: are hooks for after the change of uid\n");
	return 0;
}

static void look_elsewhere(const char *path, const char *elsewhere) {
	for (struct uwsgi_string_list *usl = uwsgi.emperor; usl; usl = usl->next) {
		if (!strcmp(usl->value, path)) usl->value = uwsgi_str((char *) elsewhere);
	}
}

int insula_hook_folder(char *arg) {
	struct stat st;
	char *save = NULL;
	if (!is_ours()) return -1;
	char *copy = uwsgi_str(arg);
	char *path = strtok_r(copy, " ", &save);
	char *elsewhere = strtok_r(NULL, " ", &save);
	if (!path) {
		uwsgi_log("folder: needs PATH\n");
		free(copy);
		return -1;
	}
	if (mkdir(path, 0755) && errno == EEXIST && !stat(path, &st) && S_ISDIR(st.st_mode) &&
		access(path, R_OK | X_OK)) {
		/* its owner has closed it to itself */
		if (chmod(path, (st.st_mode & 07777) | 0700)) {}
	}
	if (stat(path, &st) || !S_ISDIR(st.st_mode) || access(path, R_OK | X_OK)) {
		uwsgi_log("[insula] %s is no directory that its owner can use\n", path);
		if (elsewhere) look_elsewhere(path, elsewhere);
	}
	free(copy);
	return 0;
}

int insula_hook_log(char *path) {
	int ret = -1;
	if (!is_ours()) return -1;
	/* nonblock: a pipe that nobody empties holds no boot */
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0640);
	if (fd < 0) {
		uwsgi_log("[insula] %s cannot be opened (%s): this container is without a log\n", path, strerror(errno));
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	}
	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) {
		uwsgi_error("log:/dup2()");
		goto out;
	}
	ret = 0;
out:
	if (fd > 2) close(fd);
	return ret;
}
