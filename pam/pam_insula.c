/* PAM session module: moves an sshd session into the container of the account's uid. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

#include "rights.h"

#define UID_FIRST 30000
#define UID_LAST 59999
#define CGROUPS_MAX 16
#define PATH_BYTES 512
#define NAMESPACES                                                                                 \
    (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
#define BIT(capability) (1U << (capability))
/* What sshd's monitor still does in there: give the terminal to the user and take it back, become
 * the user, signal the user's processes, and log the terminal with the audit system, without which
 * Debian's sshd ends. No right to pass over file permissions. */
#define MONITOR_CAPABILITIES                                                                       \
    (BIT(CAP_CHOWN) | BIT(CAP_FOWNER) | BIT(CAP_KILL) | BIT(CAP_SETGID) | BIT(CAP_SETUID) |        \
     BIT(CAP_AUDIT_WRITE))

enum state { READY, BOOTING, NOT_FIRST };

struct container {
    uid_t uid;
    int cgroup_count;
    char cgroups[CGROUPS_MAX][PATH_BYTES];
    int pidfd;
    unsigned long personality;
};

static volatile sig_atomic_t session_pid;

/* Tell the log and the user the same sentence. */
static void refuse(pam_handle_t *pamh, uid_t uid, const char *sentence)
{
    pam_syslog(pamh, LOG_ERR, "container %u %s", (unsigned)uid, sentence);
    pam_error(pamh, "container %u %s", (unsigned)uid, sentence);
}

static int account_uid(pam_handle_t *pamh, uid_t *uid)
{
    const char *name = NULL;
    int result = pam_get_user(pamh, &name, NULL);
    const struct passwd *account = result == PAM_SUCCESS ? getpwnam(name) : NULL;
    if (result == PAM_SUCCESS && !account)
        result = PAM_USER_UNKNOWN;
    if (account)
        *uid = account->pw_uid;
    if (account && (*uid < UID_FIRST || *uid > UID_LAST))
        result = PAM_IGNORE;
    return result;
}

/* Open "<root><before><uid><after>": only root's own regular file counts. */
static FILE *open_own(const char *root, const char *before, uid_t uid, const char *after)
{
    char path[PATH_BYTES];
    struct stat info;
    FILE *file = NULL;
    int fd = -1, length = snprintf(path, sizeof path, "%s%s%u%s", strcmp(root, "/") ? root : "",
                                   before, (unsigned)uid, after);
    if (length > 0 && (size_t)length < sizeof path)
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && !fstat(fd, &info) && S_ISREG(info.st_mode) && info.st_uid == 0 &&
        !(info.st_mode & 022))
        file = fdopen(fd, "r");
    if (fd >= 0 && !file)
        close(fd);
    return file;
}

/* Give the session its language, time zone and number of processors, as the node wrote them. */
static void set_environment(pam_handle_t *pamh, const char *root, uid_t uid)
{
    char line[128];
    FILE *file = open_own(root, "/var/lib/insula/files/", uid, "/environment");
    pam_putenv(pamh, "LANG=C.UTF-8");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "LANG=", 5) || !strncmp(line, "TZ=", 3)
            || !strncmp(line, "OMP_NUM_THREADS=", 16))
            pam_putenv(pamh, line);
    }
    if (file)
        fclose(file);
}

/* The execution domain of the first process: by it uname says i686 in a 32-bit container. */
static unsigned long personality_of(pid_t pid)
{
    char path[64];
    unsigned long found = 0;
    FILE *file = NULL;
    snprintf(path, sizeof path, "/proc/%d/personality", (int)pid);
    file = fopen(path, "re");
    if (file && fscanf(file, "%lx", &found) != 1)
        found = 0;
    if (file)
        fclose(file);
    return found;
}

/* The list of cgroup directories decides whom we join. */
static bool read_cgroups(const char *root, struct container *box)
{
    char line[PATH_BYTES];
    bool good = false;
    FILE *file = open_own(root, "/run/insula/cgroups/", box->uid, "");
    if (!file)
        goto out;
    while (fgets(line, sizeof line, file)) {
        size_t end = strcspn(line, "\n");
        if (line[end] != '\n' || line[0] != '/' || strstr(line, "..") ||
            box->cgroup_count == CGROUPS_MAX)
            goto out;
        line[end] = 0;
        memcpy(box->cgroups[box->cgroup_count++], line, end + 1);
    }
    good = box->cgroup_count > 0 && !ferror(file);
out:
    if (file)
        fclose(file);
    return good;
}

static FILE *open_procs(const char *cgroup, const char *mode)
{
    char path[PATH_BYTES + 16];
    int length = snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, mode) : NULL;
}

/* A container's first process is number 1 of a pid namespace directly below ours: exactly two
 * numbers. It is root's until the boot has switched the root and dropped every right. */
static enum state state_of(pid_t pid, uid_t uid)
{
    char path[64], line[512];
    int outer = 0, inner = 0, rest = 0, numbers = 0, same = 0;
    unsigned ids[4] = {0};
    FILE *file = NULL;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "Uid: %u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) == 4)
            same = ids[0] == uid && ids[1] == uid && ids[2] == uid && ids[3] == uid;
        if (!strncmp(line, "NSpid:", 6))
            numbers = sscanf(line, "NSpid: %d %d %d", &outer, &inner, &rest);
    }
    if (file)
        fclose(file);
    return numbers != 2 || outer != pid || inner != 1 ? NOT_FIRST : same ? READY : BOOTING;
}

/* Look through the first cgroup: READY sets *found. Two first processes (an old one still ends) and
 * any that is not its uid's yet count as booting. */
static enum state search(const struct container *box, pid_t *found)
{
    enum state state = NOT_FIRST;
    int pid = 0;
    FILE *procs = open_procs(box->cgroups[0], "re");
    while (procs && fscanf(procs, "%d", &pid) == 1) {
        enum state one = state_of(pid, box->uid);
        if (one == NOT_FIRST)
            continue;
        state = state == NOT_FIRST ? one : BOOTING;
        *found = pid;
    }
    if (procs)
        fclose(procs);
    return state;
}

/* Find the container's first process and hold it by a pidfd. The number alone could be used again
 * by another process at any moment, so the search is repeated while the pidfd holds the first
 * answer: the same number again, and its process still alive, is the same process. */
static bool find_container(pam_handle_t *pamh, const char *root, struct container *box)
{
    pid_t pid = 0, again = 0;
    enum state state;
    bool good = false;
    if (!read_cgroups(root, box)) {
        refuse(pamh, box->uid, "is not on this machine");
        goto out;
    }
    state = search(box, &pid);
    if (state != READY) {
        refuse(pamh, box->uid, state == BOOTING ? "is starting, try again in a second"
                                                : "is not running");
        goto out;
    }
    box->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    box->personality = personality_of(pid);
    if (box->pidfd < 0 || search(box, &again) != READY || again != pid ||
        syscall(SYS_pidfd_send_signal, box->pidfd, 0, NULL, 0)) {
        refuse(pamh, box->uid, "is restarting, try again in a second");
        goto out;
    }
    good = true;
out:
    return good;
}

static bool join_cgroups(const struct container *box)
{
    bool good = true;
    for (int i = 0; good && i < box->cgroup_count; i++) {
        FILE *procs = open_procs(box->cgroups[i], "we");
        good = procs && fputs("0", procs) >= 0;
        if (procs && fclose(procs)) /* the write itself happens here */
            good = false;
    }
    return good;
}

static void pass_on(int signal_number)
{
    if (session_pid > 0)
        kill((pid_t)session_pid, signal_number);
}

/* The process that the sshd outside knows: holds nothing, waits, ends as the session ends. */
static _Noreturn void stand_in(void)
{
    const int passed[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    struct sigaction act = {.sa_handler = pass_on};
    int status = 0;
    pid_t done = -1;
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        sigaction(passed[i], &act, NULL);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &(sigset_t){0}, NULL);
    /* the client's connection among them: it must end with the session, not with us */
    syscall(SYS_close_range, 0U, ~0U, 0U);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no core file of a key holder in a customer's directory */
    if (!insula_drop_privileges(0))
        kill((pid_t)session_pid, SIGKILL);
    done = TEMP_FAILURE_RETRY(waitpid((pid_t)session_pid, &status, 0));
    if (done > 0 && WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    _exit(done > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 255);
}

/* setns(2) joins all namespaces or none. After it there is no way back: any failure is the end. */
static bool enter(pam_handle_t *pamh, struct container *box)
{
    pid_t child;
    bool is_32bit = (box->personality & PER_MASK) == PER_LINUX32;
    const char *filter = is_32bit ? INSULA_FILTER_32BIT : INSULA_FILTER;
    if (!insula_read_filter(filter)) {
        pam_syslog(pamh, LOG_ERR, "%s: is not root's own system call filter", filter);
        refuse(pamh, box->uid, "cannot be entered, ask the operator");
        return false;
    }
    if (!join_cgroups(box) || setns(box->pidfd, NAMESPACES)) {
        pam_syslog(pamh, LOG_ERR, "entering container %u: %m", (unsigned)box->uid);
        refuse(pamh, box->uid, "ended while you logged in, try again in a second");
        return false;
    }
    close(box->pidfd);
    box->pidfd = -1;
    personality(box->personality);
    child = fork();
    if (child < 0)
        pam_syslog(pamh, LOG_ERR, "fork in container %u: %m", (unsigned)box->uid);
    session_pid = child;
    if (child > 0)
        stand_in();
    /* kill -9 of the stand-in must not leave a session that nobody knows of */
    if (child < 0 || !insula_drop_privileges(MONITOR_CAPABILITIES) ||
        prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) || chdir("/"))
        _exit(254);
    return true;
}

static int handle(pam_handle_t *pamh, int argc, const char **argv, bool open_session)
{
    struct container box = {.pidfd = -1};
    const char *root = "/";
    gid_t groups[64];
    int group_count = 64, result = account_uid(pamh, &box.uid);
    if (result != PAM_SUCCESS)
        goto out;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "root=/", 6))
            root = argv[i] + 5;
    /* Loads the name service modules now: inside, glibc would take them from the container. */
    getgrouplist("root", 0, groups, &group_count);
    if (!find_container(pamh, root, &box))
        result = PAM_PERM_DENIED;
    if (result == PAM_SUCCESS && open_session) {
        set_environment(pamh, root, box.uid);
        if (!enter(pamh, &box))
            result = PAM_PERM_DENIED;
    }
out:
    if (box.pidfd >= 0)
        close(box.pidfd);
    return result;
}

int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    return handle(pamh, argc, argv, false);
}

int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    return handle(pamh, argc, argv, true);
}

int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    uid_t uid = 0;
    (void)flags, (void)argc, (void)argv;
    return account_uid(pamh, &uid);
}
