# mypy: ignore-errors
# PyPy runs this inside a distro; what it imports is not on a node.
"""Compiles what pypy_setup.py calls in uWSGI: ``interface.py DIRECTORY 'FLAGS of uwsgi --cflags'``.

Run by PyPy in a distro's tree, by build.sh. The directory holds the uwsgi.h of the distro's uWSGI.
"""

import shlex
import sys

from cffi import FFI

DECLARATIONS = """
struct iovec { void *iov_base; size_t iov_len; ...; };
struct wsgi_request { int async_id; uint16_t var_cnt; struct iovec *hvec; int headers_sent; ...; };
struct uwsgi_opt { char *key; char *value; ...; };
struct uwsgi_lock_item;
struct uwsgi_worker { int id; int pid; ...; };
struct uwsgi_server {
    char hostname[256]; int mywid; int muleid; int master_process; int numproc; int threads;
    int async; struct uwsgi_opt **exported_opts; int exported_opts_cnt;
    struct uwsgi_worker *workers; ...;
};
extern struct uwsgi_server uwsgi;
extern const char *version;

void free(void *);
int uwsgi_response_prepare_headers(struct wsgi_request *, char *, uint16_t);
int uwsgi_response_add_header(struct wsgi_request *, char *, uint16_t, char *, uint16_t);
int uwsgi_response_write_headers_do(struct wsgi_request *);
int uwsgi_response_write_body_do(struct wsgi_request *, char *, size_t);
int uwsgi_response_sendfile_do_can_close(struct wsgi_request *, int, size_t, size_t, int);
char *uwsgi_request_body_read(struct wsgi_request *, ssize_t, ssize_t *);
char *uwsgi_request_body_readline(struct wsgi_request *, ssize_t, ssize_t *);
void uwsgi_500(struct wsgi_request *);
int uwsgi_user_lock(int);
int uwsgi_user_unlock(int);
char *uwsgi_cache_magic_get(char *, uint16_t, uint64_t *, uint64_t *, char *);
int uwsgi_cache_magic_set(char *, uint16_t, char *, uint64_t, uint64_t, uint64_t, char *);
int uwsgi_cache_magic_del(char *, uint16_t, char *);

extern void (*uwsgi_pypy_hook_execute_source)(char *);
extern void (*uwsgi_pypy_hook_loader)(char *);
extern void (*uwsgi_pypy_hook_file_loader)(char *);
extern void (*uwsgi_pypy_hook_paste_loader)(char *);
extern void (*uwsgi_pypy_hook_pythonpath)(char *);
extern void (*uwsgi_pypy_hook_request)(struct wsgi_request *);
extern void (*uwsgi_pypy_post_fork_hook)(void);
"""

HOOKS = "\n".join(line for line in DECLARATIONS.splitlines() if "(*uwsgi_pypy_" in line)


def main() -> None:
    directory, flags = sys.argv[1:]
    builder = FFI()
    builder.cdef(
        DECLARATIONS
        + 'extern "Python" void on_source(char *);'
        + 'extern "Python" void on_module(char *);'
        + 'extern "Python" void on_file(char *);'
        + 'extern "Python" void on_paste(char *);'
        + 'extern "Python" void on_path(char *);'
        + 'extern "Python" void on_request(struct wsgi_request *);'
        + 'extern "Python" void on_fork(void);'
    )
    builder.set_source(
        "_uwsgi_pypy",
        "#include <uwsgi.h>\nextern struct uwsgi_server uwsgi;\n"
        f"const char *version = UWSGI_VERSION;\n{HOOKS}",
        include_dirs=[directory],
        # uwsgi.h looks different to each set of these
        extra_compile_args=[flag for flag in shlex.split(flags) if flag.startswith(("-D", "-I"))],
    )
    builder.compile(tmpdir=directory)


main()
