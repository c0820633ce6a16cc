/*
 * Looks after processes that are there but do nothing, which uWSGI takes for healthy.
 *
 *   emperor = care://STOPPED,SILENT,BEATS   (the root Emperor: its services and their children)
 *   emperor = care://STOPPED                (any other Emperor: its vassals and their children)
 *   care-for-parent = STOPPED               (a root service's master: the root Emperor)
 *
 * A process that is stopped (SIGSTOP) for STOPPED seconds is sent SIGCONT: it goes on where it was,
 * nothing is lost and nothing starts twice. A process that has a file BEATS/<pid>-<start time> and did
 * not touch it for SILENT seconds is killed; its parent starts another one.
 *
 * Not uWSGI's own heartbeat: that one compares clocks of the day, so a clock that is set an hour ahead
 * would kill every vassal at once. Here time is monotonic, and a file's time is only seen to change.
 */
#include <uwsgi.h>
#include "care.h"

extern struct uwsgi_server uwsgi;

/* between two looks; a look reads a file in /proc for each process */
#define LOOK_SECONDS 5
/* services, router processes, daemons: more than these never misbehave at once */
#define KNOWN_MAX 64

/* services and their children, on kernels that keep no list of them */
#define FAMILY_MAX 512

struct process {
	pid_t pid, parent;
	unsigned long long start; /* tells it from a later one with the same number */
	char state;
};

struct known {
	struct process process;
	struct timespec beat; /* what its file said; zero for one that is stopped */
	time_t since; /* stopped, or silent, since then */
	int is_fresh; /* seen in this round */
};

struct care {
	int stopped_seconds, silent_seconds, beats;
	time_t looked;
	struct known stopped[KNOWN_MAX], beating[KNOWN_MAX];
};

static int parent_seconds; /* care-for-parent */

static time_t monotonic(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Fills in state and start time; -1 when there is no such process. */
static int look_at(pid_t pid, struct process *found) {
	char path[32], line[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return -1;
	ssize_t length = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (length <= 0) return -1;
	line[length] = 0;
	/* proc(5): the name may hold anything, so the fields are counted from its last bracket */
	char *rest = strrchr(line, ')');
	if (!rest || sscanf(rest, ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		&found->state, &found->parent, &found->start) != 3) return -1;
	found->pid = pid;
	return 0;
}

/* What is known of this process, or a free place for it; NULL when all are taken. */
static struct known *known_of(struct known *list, struct process *process) {
	struct known *room = NULL;
	for (int i = 0; i < KNOWN_MAX; i++) {
		if (list[i].process.pid == process->pid && list[i].process.start == process->start) return &list[i];
		if (!room && !list[i].process.pid) room = &list[i];
	}
	return room;
}

static void forget_gone(struct known *list) {
	for (int i = 0; i < KNOWN_MAX; i++) {
		if (!list[i].is_fresh) memset(&list[i], 0, sizeof(list[i]));
		list[i].is_fresh = 0;
	}
}

/* Its command line, for the log. A customer's process may write anything there. */
static void name_of(pid_t pid, char *name, size_t size) {
	char path[32];
	ssize_t length = -1;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, name, size - 1);
		close(fd);
	}
	name[length < 0 ? 0 : length] = 0;
	/* the words are parted by zeros */
	for (ssize_t i = 0; i < length; i++) {
		if (name[i] == 0) name[i] = ' ';
		else if (name[i] < ' ' || name[i] > '~') name[i] = '?';
	}
	/* uWSGI fills up what its shorter title leaves free */
	while (length > 0 && name[length - 1] == ' ') name[--length] = 0;
}

static void send_to(struct known *known, int number, const char *why, time_t seconds) {
	char name[120];
	name_of(known->process.pid, name, sizeof(name));
	uwsgi_log_verbose("[insula] process %d (%s) is %s for %d s: sending it %s\n", (int) known->process.pid,
		name, why, (int) seconds, number == SIGCONT ? "SIGCONT" : "SIGKILL");
	if (kill(known->process.pid, number)) {
		uwsgi_error("care/kill()");
	}
	memset(known, 0, sizeof(*known));
}

static void wake_stopped(struct care *care, struct process *process, time_t now) {
	/* not 't': who traces a process knows what it does */
	if (process->state != 'T') return;
	struct known *known = known_of(care->stopped, process);
	if (!known) return;
	if (!known->process.pid) known->since = now;
	known->process = *process;
	known->is_fresh = 1;
	if (now - known->since >= care->stopped_seconds) send_to(known, SIGCONT, "stopped", now - known->since);
}

static void end_silent(struct care *care, struct process *process, time_t now) {
	char name[48];
	struct stat st;
	snprintf(name, sizeof(name), "%d-%llu", (int) process->pid, process->start);
	if (care->beats < 0 || fstatat(care->beats, name, &st, AT_SYMLINK_NOFOLLOW)) return;
	struct known *known = known_of(care->beating, process);
	if (!known) return;
	/* a round that comes late means that we did not run ourselves: nobody's silence counts */
	int counts = known->process.pid && now - care->looked <= 2 * LOOK_SECONDS &&
		!memcmp(&known->beat, &st.st_mtim, sizeof(known->beat));
	if (!counts) known->since = now;
	known->process = *process;
	known->beat = st.st_mtim;
	known->is_fresh = 1;
	if (now - known->since >= care->silent_seconds) {
		send_to(known, SIGKILL, "silent", now - known->since);
		unlinkat(care->beats, name, 0);
	}
}

/* -1 when the kernel keeps no list of the children, or the parent is gone. */
static int look_below(struct care *care, pid_t parent, int depth, time_t now) {
	char path[64];
	int pid;
	struct process process;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int) parent, (int) parent);
	FILE *children = fopen(path, "re");
	if (!children) return -1;
	while (fscanf(children, "%d", &pid) == 1) {
		if (look_at(pid, &process)) continue;
		wake_stopped(care, &process, now);
		end_silent(care, &process, now);
		if (depth > 1) look_below(care, pid, depth - 1, now);
	}
	fclose(children);
	return 0;
}

static int is_among(pid_t pid, const pid_t *list, int count) {
	for (int i = 0; i < count; i++) {
		if (list[i] == pid) return 1;
	}
	return 0;
}

/* The same without CONFIG_PROC_CHILDREN: every process is asked for its parent, once for each depth. */
static void search_below(struct care *care, int depth, time_t now) {
	pid_t family[FAMILY_MAX] = { getpid() };
	int first = 0, count = 1;
	struct process process;
	for (; depth > 0; depth--) {
		int last = count;
		DIR *proc = opendir("/proc");
		if (!proc) return;
		for (struct dirent *entry; (entry = readdir(proc));) {
			int pid = atoi(entry->d_name);
			if (pid <= 0 || look_at(pid, &process)) continue;
			if (!is_among(process.parent, family + first, last - first)) continue;
			wake_stopped(care, &process, now);
			end_silent(care, &process, now);
			if (count < FAMILY_MAX) family[count++] = process.pid;
		}
		closedir(proc);
		first = last;
	}
}

static void look_up(struct care *care, time_t now) {
	struct process process;
	/* the supervisor's shell; systemd looks after itself */
	if (getppid() > 1 && !look_at(getppid(), &process)) wake_stopped(care, &process, now);
}

static void care_run(struct uwsgi_emperor_scanner *ues) {
	struct care *care = ues->data;
	time_t now = monotonic();
	if (now - care->looked < LOOK_SECONDS) return;
	look_up(care, now);
	if (look_below(care, getpid(), 2, now)) search_below(care, 2, now);
	forget_gone(care->stopped);
	forget_gone(care->beating);
	care->looked = now;
}

static void (*royal_death)(int); /* uWSGI's own */

static void root_ends(int signum) {
	insula_end_promptly();
	royal_death(signum);
}

/* A sub-Emperor hears of its end through parent://, the root Emperor by a signal. */
static void end_root_promptly(void) {
	struct sigaction action;
	if (uwsgi.has_emperor || sigaction(SIGQUIT, NULL, &action) || action.sa_handler == SIG_DFL ||
		action.sa_handler == SIG_IGN) return;
	royal_death = action.sa_handler;
	action.sa_handler = root_ends;
	if (sigaction(SIGQUIT, &action, NULL)) {
		uwsgi_error("care/sigaction()");
	}
	insula_emperor_wakes_on_children();
}

static void care_init(struct uwsgi_emperor_scanner *ues) {
	struct care *care = uwsgi_calloc(sizeof(struct care));
	char beats[PATH_MAX] = "";
	char *words = ues->arg + (uwsgi_startswith(ues->arg, "care://", 7) ? 0 : 7);
	int count = sscanf(words, "%d,%d,%4095s", &care->stopped_seconds, &care->silent_seconds, beats);
	if ((count != 1 && count != 3) || care->stopped_seconds <= 0) {
		uwsgi_log("emperor = care:// needs STOPPED or STOPPED,SILENT,BEATS\n");
		exit(1);
	}
	care->beats = -1;
	if (count == 3) {
		care->beats = open(beats, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (care->beats < 0) uwsgi_error_open(beats);
	}
	ues->fd = -1;
	ues->data = care;
	end_root_promptly();
}

/* The root Emperor has no parent that knows it: one of its services wakes it. */
void care_master_cycle(void) {
	static struct care care;
	time_t now = monotonic();
	if (!parent_seconds || now - care.looked < LOOK_SECONDS) return;
	care.stopped_seconds = parent_seconds;
	look_up(&care, now);
	forget_gone(care.stopped);
	care.looked = now;
}

struct uwsgi_option care_options[] = {
	{"care-for-parent", required_argument, 0, "send SIGCONT to the parent after so many seconds of being stopped",
		uwsgi_opt_set_int, &parent_seconds, 0},
	{0, 0, 0, 0, 0, 0, 0},
};

void care_load(void) {
	uwsgi_register_imperial_monitor("care", care_init, care_run);
}
