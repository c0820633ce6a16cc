/*
 * Hides what of a directory speaks of the machine, as hooks:
 *
 *   mask:DIR FILE EMPTY NAME...   bind FILE over each named file below DIR, EMPTY over each directory
 *   cover:DIR FROM NAME...        bind FROM/NAME over DIR/NAME
 *
 * Kernels differ in what they have there: a name that is not there needs no mask. What covers is lxcfs,
 * which may be absent, or just dead: a boot never fails for it.
 */
#include <uwsgi.h>
#include <sys/mount.h>

int insula_hook_mask(char *arg);
int insula_hook_cover(char *arg);

static int mask_one(const char *dir, const char *name, const char *file, const char *empty) {
	char path[PATH_MAX];
	struct stat st;
	int length = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (length < 0 || (size_t) length >= sizeof(path)) {
		uwsgi_log("mask: %s/%s is too long\n", dir, name);
		return -1;
	}
	if (lstat(path, &st)) {
		if (errno == ENOENT) return 0;
		uwsgi_error("mask:/lstat()");
		return -1;
	}
	/* a new bind has the flags of the mount that it comes from */
	if (mount(S_ISDIR(st.st_mode) ? empty : file, path, NULL, MS_BIND, NULL)) {
		uwsgi_log("mask: %s\n", path);
		uwsgi_error("mask:/mount()");
		return -1;
	}
	return 0;
}

int insula_hook_mask(char *arg) {
	int ret = -1;
	char *save = NULL;
	char *copy = uwsgi_str(arg);
	char *dir = strtok_r(copy, " ", &save);
	char *file = strtok_r(NULL, " ", &save);
	char *empty = strtok_r(NULL, " ", &save);
	if (!dir || !file || !empty) {
		uwsgi_log("mask: needs DIR FILE EMPTY NAME...\n");
		goto out;
	}
	for (char *name = strtok_r(NULL, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		if (mask_one(dir, name, file, empty)) goto out;
	}
	ret = 0;
out:
	free(copy);
	return ret;
}

static void cover_one(const char *dir, const char *from, const char *name) {
	char source[PATH_MAX], path[PATH_MAX];
	struct stat st;
	int source_length = snprintf(source, sizeof(source), "%s/%s", from, name);
	int length = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (source_length < 0 || (size_t) source_length >= sizeof(source) ||
		length < 0 || (size_t) length >= sizeof(path)) return;
	if (stat(source, &st) || mount(source, path, NULL, MS_BIND, NULL)) {
		if (errno != ENOENT) uwsgi_error("cover:/mount()");
	}
}

int insula_hook_cover(char *arg) {
	char *save = NULL;
	char *copy = uwsgi_str(arg);
	char *dir = strtok_r(copy, " ", &save);
	char *from = strtok_r(NULL, " ", &save);
	for (char *name = strtok_r(NULL, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		cover_one(dir, from, name);
	}
	free(copy);
	return 0;
}
