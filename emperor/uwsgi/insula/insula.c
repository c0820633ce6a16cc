/*
 * What uWSGI lacks to boot a container, as hooks and Emperor monitors; container.ini uses them.
 *
 * Hooks (argument after the colon; any failure ends the boot):
 *   netns:PATH            join the network namespace bound at PATH
 *   cgroupns:             leave into a cgroup namespace, so that /proc/self/cgroup shows "/"
 *   remount:WHERE FLAGS   change the flags of a bind mount; knows nosymfollow, which `mount:` does not
 *   mkdirs:MODE PATH      make a directory with exactly this mode
 *   capbset:              empty the capability bounding set
 *   nocore:               a crash writes no core and starts no handler of the machine (core(5))
 *   nnp:                  set no_new_privs, and have a session keyring (keyrings(7)) of its own
 *   deathsig:             SIGKILL when the parent Emperor dies
 *   mask:, cover:         see mask.c
 *   seccomp-read:, seccomp:   see seccomp.c
 *   folder:, log:         see home.c
 *   trace:STEP UID GENERATION [PATH]   append one TraceEvent; PATH opens the file for this and later ones
 *   traceend:             close that file, so that no customer's process inherits it
 *   nodelay:              (the router's master) answers leave at once, not with the client's next packet
 *   files:COUNT           have so many open files, or as many as may be had
 *   childwake:            (a master) see at once that a child has ended, not at the next second
 *
 * Monitors (`emperor = NAME://`):
 *   parent://             obey the parent Emperor: a sub-Emperor without a master does not listen to it
 *   watch://DIR           wake at once when something below DIR changes, and bury orphans
 *   care://…              wake what is stopped, end what is silent: see care.c
 */
#include <uwsgi.h>
#include "care.h"
#include <linux/keyctl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

extern struct uwsgi_server uwsgi;
/* core/emperor.c: the list of this Emperor's vassals, and of its monitors */
extern struct uwsgi_instance *ui;
extern struct uwsgi_emperor_scanner *emperor_scanners;

int insula_hook_mask(char *arg);
int insula_hook_cover(char *arg);
int insula_hook_seccomp_read(char *path);
int insula_hook_folder(char *arg);
int insula_hook_log(char *path);
int insula_hook_seccomp(char *unused);

static int trace_fd = -1;

static int hook_netns(char *path) {
	int ret = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		uwsgi_error_open(path);
		return -1;
	}
	if (setns(fd, CLONE_NEWNET)) {
		uwsgi_error("netns:/setns()");
		goto out;
	}
	ret = 0;
out:
	close(fd);
	return ret;
}

static int hook_cgroupns(char *unused) {
	(void) unused;
	if (unshare(CLONE_NEWCGROUP)) {
		uwsgi_error("cgroupns:/unshare()");
		return -1;
	}
	return 0;
}

static int mount_flag(const char *name, unsigned long *flags) {
	static const struct { const char *name; unsigned long flag; } known[] = {
		{"ro", MS_RDONLY}, {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV},
		{"noexec", MS_NOEXEC}, {"nosymfollow", MS_NOSYMFOLLOW},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(name, known[i].name)) {
			*flags |= known[i].flag;
			return 0;
		}
	}
	uwsgi_log("remount: %s is not a known flag\n", name);
	return -1;
}

static int hook_remount(char *arg) {
	int ret = -1;
	unsigned long flags = MS_REMOUNT | MS_BIND;
	char *save = NULL;
	char *copy = uwsgi_str(arg);
	char *where = strtok_r(copy, " ", &save);
	char *names = strtok_r(NULL, " ", &save);
	if (!where || !names) {
		uwsgi_log("remount: needs WHERE FLAGS\n");
		goto out;
	}
	for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (mount_flag(name, &flags)) goto out;
	}
	if (mount(NULL, where, NULL, flags, NULL)) {
		uwsgi_error("remount:/mount()");
		goto out;
	}
	ret = 0;
out:
	free(copy);
	return ret;
}

static int hook_mkdirs(char *arg) {
	char *end = NULL;
	unsigned long mode = strtoul(arg, &end, 8);
	if (end == arg || *end != ' ' || mode > 07777) {
		uwsgi_log("mkdirs: needs MODE PATH\n");
		return -1;
	}
	/* chmod after mkdir: the umask does not decide about a directory of the platform */
	if (mkdir(end + 1, 0700) || chmod(end + 1, (mode_t) mode)) {
		uwsgi_error("mkdirs:/mkdir()");
		return -1;
	}
	return 0;
}

static int hook_capbset(char *unused) {
	(void) unused;
	/* capabilities(7): reading past the last one fails with EINVAL, that ends the set */
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) {
			uwsgi_error("capbset:/prctl()");
			return -1;
		}
	}
	return 0;
}

/* core(5): a handler that core_pattern names runs as the machine's root, whatever the limit, unless it is
   just one byte. A hard limit of nothing cannot be raised without CAP_SYS_RESOURCE: it stays. */
static int hook_nocore(char *unused) {
	struct rlimit limit;
	(void) unused;
	if (!getrlimit(RLIMIT_CORE, &limit) && limit.rlim_max > 0) {
		limit.rlim_cur = limit.rlim_max = 1;
		if (!setrlimit(RLIMIT_CORE, &limit)) return 0;
		uwsgi_error("nocore:/setrlimit()");
		return -1;
	}
	return 0;
}

static int hook_nnp(char *unused) {
	(void) unused;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		uwsgi_error("nnp:/prctl()");
		return -1;
	}
	/* Inherited from whoever started the node, it would lend those keys to every customer, and all
	   of them would write to the same one. A kernel may be built without keyrings. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS) {
		uwsgi_error("nnp:/keyctl()");
		return -1;
	}
	return 0;
}

/* The Emperor sets it too, but a change of uid clears it (prctl(2)). */
static int hook_deathsig(char *unused) {
	(void) unused;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)) {
		uwsgi_error("deathsig:/prctl()");
		return -1;
	}
	return 0;
}

static int hook_trace(char *arg) {
	char step[32], path[PATH_MAX] = "", line[256];
	unsigned uid, generation;
	struct timespec now;
	struct stat st;

	if (sscanf(arg, "%31[a-z-] %u %u %4095s", step, &uid, &generation, path) < 3) {
		uwsgi_log("trace: needs STEP UID GENERATION [PATH]\n");
		return -1;
	}
	if (path[0]) {
		trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
		/* a container that boots again and again must not fill the run directory */
		if (trace_fd >= 0 && !fstat(trace_fd, &st) && st.st_size > 65536 && ftruncate(trace_fd, 0)) {
			uwsgi_error("trace:/ftruncate()");
		}
	}
	if (trace_fd < 0) return 0; /* a lost trace never stops a boot */
	clock_gettime(CLOCK_REALTIME, &now);
	int length = snprintf(line, sizeof(line),
		"{\"at\": %lld.%06ld, \"uid\": %u, \"generation\": %u, \"step\": \"%s\", \"state\": \"ok\", \"detail\": \"\"}\n",
		(long long) now.tv_sec, now.tv_nsec / 1000, uid, generation, step);
	if (write(trace_fd, line, (size_t) length) != length) {
		uwsgi_error("trace:/write()");
	}
	return 0;
}

static int hook_traceend(char *unused) {
	(void) unused;
	if (trace_fd >= 0) close(trace_fd);
	trace_fd = -1;
	return 0;
}

/* The operator's shell may have given us 1024. Raising the hard limit takes CAP_SYS_RESOURCE, which root
   does not have everywhere. */
static int hook_files(char *arg) {
	struct rlimit limit;
	char *end = NULL;
	rlim_t wanted = strtoul(arg, &end, 10);
	if (end == arg || *end || !wanted || getrlimit(RLIMIT_NOFILE, &limit)) {
		uwsgi_log("files: needs COUNT\n");
		return -1;
	}
	if (limit.rlim_max < wanted) {
		struct rlimit higher = {.rlim_cur = wanted, .rlim_max = wanted};
		if (!setrlimit(RLIMIT_NOFILE, &higher)) return 0;
		uwsgi_log("files: only %llu of %llu are allowed here\n", (unsigned long long) limit.rlim_max,
			(unsigned long long) wanted);
		wanted = limit.rlim_max;
	}
	limit.rlim_cur = wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit)) {
		uwsgi_error("files:/setrlimit()");
		return -1;
	}
	return 0;
}

/* The router sends headers and body apart. With Nagle's algorithm the body waits until the client has
   acknowledged the headers, which takes it 40 ms on a kept connection (tcp(7)). An accepted socket has
   the option from the listening one. */
static int hook_nodelay(char *unused) {
	(void) unused;
	int on = 1;
	for (struct uwsgi_gateway_socket *ugs = uwsgi.gateway_sockets; ugs; ugs = ugs->next) {
		if (ugs->fd < 0 || ugs->subscription) continue;
		if (setsockopt(ugs->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))) {
			uwsgi_error("nodelay:/setsockopt()");
		}
	}
	return 0;
}

static void monitor_nothing(struct uwsgi_emperor_scanner *ues) {
	(void) ues;
}

static void woken(int signum) {
	(void) signum; /* its arrival alone ends epoll_wait and sleep with EINTR, and the loop goes round */
}

static int wake_on_children(void (*handler)(int)) {
	struct sigaction action = {.sa_handler = handler};
	if (sigaction(SIGCHLD, &action, NULL)) {
		uwsgi_error("insula/sigaction()");
		return -1;
	}
	return 0;
}

static int children_fd = -1;

static void child_died(int signum) {
	(void) signum;
	int error = errno;
	uint64_t one = 1;
	if (write(children_fd, &one, sizeof(one)) < 0) {} /* full: it will wake all the same */
	errno = error;
}

static void children_event(struct uwsgi_emperor_scanner *ues) {
	uint64_t count;
	if (read(ues->fd, &count, sizeof(count)) < 0) {} /* the loop itself looks for the ended ones */
}

/* The Emperor sees at once that a vassal has ended. Through a descriptor: a signal that comes just
   before the loop goes to sleep would be slept over, up to emperor-freq seconds. */
void insula_emperor_wakes_on_children(void) {
	static struct uwsgi_imperial_monitor monitor = {.scheme = "children", .func = monitor_nothing};
	static struct uwsgi_emperor_scanner scanner = {.arg = "children", .monitor = &monitor};
	struct uwsgi_emperor_scanner **last = &emperor_scanners;
	if (children_fd >= 0) return;
	children_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (children_fd < 0 || wake_on_children(child_died)) {
		uwsgi_error("insula/eventfd()");
		return;
	}
	scanner.fd = children_fd;
	scanner.event_func = children_event;
	while (*last) last = &(*last)->next;
	*last = &scanner;
	event_queue_add_fd_read(uwsgi.emperor_queue, children_fd);
}

static int hook_childwake(char *unused) {
	(void) unused;
	return wake_on_children(woken);
}

/* An Emperor that ends looks for ended vassals once a second, and once more when none is left: three
   levels of them make a second into four. So its sleep is cut short until it is gone. */
void insula_end_promptly(void) {
	struct sigaction action = {.sa_handler = woken};
	struct itimerval often = {.it_interval.tv_usec = 20000, .it_value.tv_usec = 20000};
	if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &often, NULL)) {
		uwsgi_error("insula/setitimer()");
	}
}

/* An event on the pipe to the parent Emperor: 1 is "reload", 0 and 2 are "stop", EOF is its death.
   All mean the same here: stop gracefully. After "reload" the parent starts the vassal anew, which is
   the only reload there is: the binary's path is gone since pivot_root. */
static void parent_event(struct uwsgi_emperor_scanner *ues) {
	char byte = 0;
	ssize_t length = read(ues->fd, &byte, 1);
	if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
	uwsgi_log_verbose("the parent Emperor says %s: stopping\n",
		length <= 0 ? "nothing any more" : byte == 1 ? "boot again" : "stop");
	event_queue_del_fd(uwsgi.emperor_queue, ues->fd, event_queue_read());
	ues->fd = -1;
	/* apps that answer what they have begun (a WebSocket, a long poll) would hold up each stop */
	uwsgi.emperor_graceful_shutdown = 0;
	insula_end_promptly();
	raise(SIGTERM);
}

static void parent_init(struct uwsgi_emperor_scanner *ues) {
	if (!uwsgi.has_emperor) {
		uwsgi_log("emperor = parent:// needs a parent Emperor\n");
		exit(1);
	}
	insula_emperor_wakes_on_children();
	ues->fd = uwsgi.emperor_fd;
	ues->event_func = parent_event;
	event_queue_add_fd_read(uwsgi.emperor_queue, ues->fd);
}

static int is_vassal(pid_t pid) {
	for (struct uwsgi_instance *vassal = ui->ui_next; vassal; vassal = vassal->ui_next) {
		if (vassal->pid == pid) return 1;
	}
	return 0;
}

/* As pid 1 of the container we inherit every orphan. The Emperor's own waitpid takes one a round and
   none while it has no vassal, so zombies would fill the pids limit. Vassals are left to it. */
static void watch_run(struct uwsgi_emperor_scanner *ues) {
	(void) ues;
	for (;;) {
		siginfo_t info = {0};
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid) return;
		if (is_vassal(info.si_pid)) return;
		waitpid(info.si_pid, NULL, WNOHANG);
	}
}

static void watch_event(struct uwsgi_emperor_scanner *ues) {
	char events[4096];
	/* what changed does not matter: the directory monitor looks at all files after every event */
	while (read(ues->fd, events, sizeof(events)) > 0);
}

static void watch_init(struct uwsgi_emperor_scanner *ues) {
	char *dir = ues->arg;
	if (!uwsgi_startswith(dir, "watch://", 8)) dir += 8;
	insula_emperor_wakes_on_children();
	ues->event_func = watch_event;
	ues->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	/* Without it the Emperor still looks every emperor-freq seconds. */
	if (ues->fd < 0 || inotify_add_watch(ues->fd, dir,
		IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0) {
		uwsgi_error("watch://inotify");
		if (ues->fd >= 0) close(ues->fd);
		ues->fd = -1;
		return;
	}
	event_queue_add_fd_read(uwsgi.emperor_queue, ues->fd);
}

static void insula_load(void) {
	uwsgi_register_hook("netns", hook_netns);
	uwsgi_register_hook("cgroupns", hook_cgroupns);
	uwsgi_register_hook("remount", hook_remount);
	uwsgi_register_hook("mkdirs", hook_mkdirs);
	uwsgi_register_hook("capbset", hook_capbset);
	uwsgi_register_hook("nocore", hook_nocore);
	uwsgi_register_hook("nnp", hook_nnp);
	uwsgi_register_hook("deathsig", hook_deathsig);
	uwsgi_register_hook("mask", insula_hook_mask);
	uwsgi_register_hook("cover", insula_hook_cover);
	uwsgi_register_hook("seccomp-read", insula_hook_seccomp_read);
	uwsgi_register_hook("seccomp", insula_hook_seccomp);
	uwsgi_register_hook("folder", insula_hook_folder);
	uwsgi_register_hook("log", insula_hook_log);
	uwsgi_register_hook("trace", hook_trace);
	uwsgi_register_hook("traceend", hook_traceend);
	uwsgi_register_hook("files", hook_files);
	uwsgi_register_hook("nodelay", hook_nodelay);
	uwsgi_register_hook("childwake", hook_childwake);
	uwsgi_register_imperial_monitor("parent", parent_init, monitor_nothing);
	uwsgi_register_imperial_monitor("watch", watch_init, watch_run);
	care_load();
}

struct uwsgi_plugin insula_plugin = {
	.name = "insula",
	.options = care_options,
	.on_load = insula_load,
	.master_cycle = care_master_cycle,
};
