/* What a session keeps: some capabilities at most, and the system calls that a file names. */
#include "rights.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter instructions[BPF_MAXINSNS];
static size_t instruction_count;

bool insula_read_filter(const char *path)
{
    struct stat info;
    ssize_t length = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && !fstat(fd, &info) && S_ISREG(info.st_mode) && info.st_uid == 0 &&
        !(info.st_mode & 022) && info.st_size <= (off_t)sizeof instructions)
        length = read(fd, instructions, sizeof instructions);
    if (fd >= 0)
        close(fd);
    instruction_count = length > 0 ? (size_t)length / sizeof *instructions : 0;
    return length > 0 && length == info.st_size && length % (ssize_t)sizeof *instructions == 0;
}

static bool filter_calls(void)
{
    struct sock_fprog program = {(unsigned short)instruction_count, instructions};
    return !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

/* core(5): one byte alone keeps the machine's crash handler, which is root, from being started. A hard
 * limit of nothing cannot always be raised: it stays. */
static bool forgo_cores(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) || limit.rlim_max == 0)
        return true;
    limit.rlim_cur = limit.rlim_max = 1;
    return !setrlimit(RLIMIT_CORE, &limit);
}

/* Only the kernel's word is taken for the last capability: reading it ends with EINVAL. The session
 * keyring of whoever started the node would lend its keys to every customer. */
bool insula_drop_privileges(unsigned kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {{kept, kept, 0}, {0, 0, 0}};
    bool good = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 || errno == ENOSYS;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        good = good && !prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    return good && forgo_cores() && !prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) &&
           !syscall(SYS_capset, &header, data) && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
           filter_calls();
}
