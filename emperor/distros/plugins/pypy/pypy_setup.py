# mypy: ignore-errors
# PyPy runs this inside a distro; what it imports is not on a node.
"""The Python half of uWSGI's PyPy plug-in: serves a WSGI app (PEP 3333), Python 3 only.

The plug-in carries this text and runs it when it starts; the C half calls the hooks at the end.
"""

import importlib
import io
import os
import site
import sys
import traceback
import types

from _uwsgi_pypy import ffi, lib  # made by interface.py

_TRUE = ("1", "on", "true", "yes")
_application = None


def _text(pointer):
    return os.fsdecode(ffi.string(pointer))


# ---- loading -------------------------------------------------------------------------------------


def _load(name, load):
    # What is raised in a hook is lost: an app that cannot be loaded answers 500 and says why.
    global _application
    try:
        _application = load()
    except BaseException:
        traceback.print_exc()
        print(f"PyPy: {name} is not loaded; each request gets 500", file=sys.stderr, flush=True)


def _named(module, path):
    for part in (path or "application").split("."):
        module = getattr(module, part)
    return module


@ffi.def_extern()
def on_module(words):
    """pypy-wsgi = module or module:callable"""
    module, _, path = _text(words).partition(":")
    _load(module, lambda: _named(importlib.import_module(module), path))


@ffi.def_extern()
def on_file(words):
    """pypy-wsgi-file = file.py or file.py:callable"""
    file, _, path = _text(words).partition(":")

    def load():
        module = types.ModuleType("uwsgi_file_" + os.path.basename(file).partition(".")[0])
        module.__file__ = os.path.abspath(file)
        sys.modules[module.__name__] = module
        with io.open_code(module.__file__) as source:
            exec(compile(source.read(), module.__file__, "exec"), module.__dict__)
        return _named(module, path)

    _load(file, load)


@ffi.def_extern()
def on_paste(words):
    """pypy-paste = config.ini"""
    file = os.path.abspath(_text(words).removeprefix("config:"))

    def load():
        from paste.deploy import loadapp

        return loadapp("config:" + file)

    _load(file, load)


@ffi.def_extern()
def on_source(words):
    """pypy-eval, pypy-exec"""
    exec(ffi.string(words), sys.modules["__main__"].__dict__)


@ffi.def_extern()
def on_path(words):
    """pypy-pp = directory, or a virtual environment: it comes before the system's packages"""
    path = os.path.abspath(_text(words))
    if not os.path.isfile(os.path.join(path, "pyvenv.cfg")):
        sys.path.append(path)
        return
    version = ".".join(str(part) for part in sys.version_info[:2])
    packages = os.path.join(path, "lib", f"pypy{version}", "site-packages")
    if not os.path.isdir(packages):
        print(f"PyPy: {path} is no environment of pypy{version}: `pypy3 -m venv {path}`",
              file=sys.stderr, flush=True)  # fmt: skip
    known = list(sys.path)
    site.addsitedir(packages)
    # The standard library first, as without an environment; the system's own packages last.
    added = [entry for entry in sys.path if entry not in known]
    ours = [entry for entry in known if "dist-packages" not in entry]
    sys.path[:] = ours + added + [entry for entry in known if entry not in ours]
    sys.prefix = sys.exec_prefix = path
    sys.executable = os.path.join(path, "bin", "python3")


@ffi.def_extern()
def on_fork():
    hook = getattr(uwsgi, "post_fork_hook", None)
    if hook is not None:
        hook()


# ---- serving -------------------------------------------------------------------------------------


class Input:
    """wsgi.input"""

    def __init__(self, request):
        self._request = request
        # what uWSGI gave beyond the size that a readline() asked for
        self._rest = b""

    def _take(self, call, size):
        length = ffi.new("ssize_t *")
        data = call(self._request, size, length)
        if data == ffi.NULL:
            raise OSError("the client went away before its request was whole")
        return ffi.buffer(data, length[0])[:]

    def _cut(self, data, size):
        if size is None or size < 0:
            return data
        self._rest = data[size:] + self._rest
        return data[:size]

    def read(self, size=-1):
        found, self._rest = self._rest, b""
        # 0 is all of it for uWSGI
        wanted = 0 if size is None or size < 0 else size - len(found)
        if wanted > 0 or size is None or size < 0:
            found += self._take(lib.uwsgi_request_body_read, wanted)
        return self._cut(found, size)

    def readline(self, size=-1):
        if size == 0:
            return b""
        found, self._rest = self._rest, b""
        if not found:
            found = self._take(lib.uwsgi_request_body_readline, 0)
        line, end, self._rest = found.partition(b"\n")
        return self._cut(line + end, size)

    def readlines(self, hint=-1):
        lines, total = [], 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self):
        return iter(self.readline, b"")


class FileWrapper:
    """wsgi.file_wrapper: the kernel copies a real file; anything else is read in pieces."""

    def __init__(self, file, size=8192):
        self.file, self._size = file, size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        return iter(lambda: self.file.read(self._size), b"")


class Answer:
    """One answer on its way: PEP 3333 lets the headers change until the first byte of the body."""

    def __init__(self, request):
        self._request = request
        self._status = self._headers = None

    @property
    def is_sent(self):
        return self._headers is not None and self._request.headers_sent

    def start(self, status, headers, exc_info=None):
        try:
            if exc_info and self.is_sent:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._status is not None and not exc_info:
                raise AssertionError("start_response was called twice")
        finally:
            exc_info = None
        self._status = status.encode("latin-1")
        self._headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers]
        return self.write

    def head(self):
        if self._status is None:
            raise AssertionError("the app sent a body before it called start_response")
        if self._request.headers_sent:
            return
        lib.uwsgi_response_prepare_headers(self._request, self._status, len(self._status))
        for name, value in self._headers:
            lib.uwsgi_response_add_header(self._request, name, len(name), value, len(value))

    def write(self, data):
        if data:
            if not self._request.headers_sent:
                self.head()
            if lib.uwsgi_response_write_body_do(self._request, data, len(data)) < 0:
                raise OSError("the client went away")

    def send(self, body):
        if isinstance(body, FileWrapper):
            try:
                descriptor, start = body.file.fileno(), body.file.tell()
            except (AttributeError, OSError):
                pass
            else:
                self.head()
                lib.uwsgi_response_sendfile_do_can_close(self._request, descriptor, start, 0, 0)
                return
        for chunk in body:
            self.write(chunk)
        if not self._request.headers_sent:
            self.head()
            lib.uwsgi_response_write_headers_do(self._request)


def _environ(request):
    environ, words = {}, request.hvec
    for index in range(0, request.var_cnt, 2):
        name, value = words[index], words[index + 1]
        environ[_latin(name)] = _latin(value)
    https = environ.get("HTTPS", "").lower() in _TRUE
    environ.update({
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": environ.get("UWSGI_SCHEME", "https" if https else "http"),
        "wsgi.input": Input(request),
        "wsgi.errors": sys.stderr,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.multithread": lib.uwsgi.threads > 1,
        "wsgi.multiprocess": lib.uwsgi.numproc > 1,
        "uwsgi.core": request.async_id,
        "uwsgi.node": uwsgi.hostname,
        "uwsgi.version": uwsgi.version,
    })  # fmt: skip
    return environ


def _latin(word):
    return ffi.buffer(word.iov_base, word.iov_len)[:].decode("latin-1")


@ffi.def_extern()
def on_request(request):
    answer = Answer(request)
    try:
        if _application is None:
            raise RuntimeError("no app is loaded: see the start of this log")
        body = _application(_environ(request), answer.start)
        try:
            answer.send(body)
        finally:
            if hasattr(body, "close"):
                body.close()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        if not request.headers_sent:
            lib.uwsgi_500(request)


# ---- import uwsgi --------------------------------------------------------------------------------

uwsgi = types.ModuleType("uwsgi", "What an app may ask uWSGI for; PyPy knows this part of it.")
sys.modules["uwsgi"] = uwsgi
uwsgi.hostname = ffi.string(lib.uwsgi.hostname)
uwsgi.numproc = lib.uwsgi.numproc
uwsgi.version = ffi.string(lib.version)
uwsgi.opt = {
    ffi.string(lib.uwsgi.exported_opts[index].key): (
        ffi.string(lib.uwsgi.exported_opts[index].value)
        if lib.uwsgi.exported_opts[index].value != ffi.NULL
        else True
    )
    for index in range(lib.uwsgi.exported_opts_cnt)
}


def _bytes(word):
    return word.encode() if isinstance(word, str) else word


def _cache_name(name):
    return ffi.NULL if name is None else ffi.from_buffer(_bytes(name) + b"\0")


def cache_get(key, cache=None):
    size = ffi.new("uint64_t *")
    expires = ffi.new("uint64_t *")
    key = _bytes(key)
    data = lib.uwsgi_cache_magic_get(key, len(key), size, expires, _cache_name(cache))
    if data == ffi.NULL:
        return None
    value = ffi.buffer(data, size[0])[:]
    lib.free(data)
    return value


def _cache_put(key, value, expires, cache, flags):
    key, value = _bytes(key), _bytes(value)
    done = lib.uwsgi_cache_magic_set(
        key, len(key), value, len(value), expires, flags, _cache_name(cache)
    )
    return done == 0


def cache_set(key, value, expires=0, cache=None):
    return _cache_put(key, value, expires, cache, 0)


def cache_update(key, value, expires=0, cache=None):
    return _cache_put(key, value, expires, cache, 1 << 1)  # UWSGI_CACHE_FLAG_UPDATE


def cache_del(key, cache=None):
    key = _bytes(key)
    return lib.uwsgi_cache_magic_del(key, len(key), _cache_name(cache)) == 0


def lock(number=0):
    if lib.uwsgi_user_lock(number):
        raise ValueError(f"no lock {number}: see the option `locks`")


def unlock(number=0):
    if lib.uwsgi_user_unlock(number):
        raise ValueError(f"no lock {number}: see the option `locks`")


def worker_id():
    return lib.uwsgi.mywid


def masterpid():
    return lib.uwsgi.workers[0].pid if lib.uwsgi.master_process else 0


for _function in (cache_get, cache_set, cache_update, cache_del):
    setattr(uwsgi, _function.__name__, _function)
for _function in (lock, unlock, worker_id, masterpid):
    setattr(uwsgi, _function.__name__, _function)

# ---- what the C half calls -----------------------------------------------------------------------

sys.path.insert(0, os.getcwd())
sys.path.extend(entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
if not sys.argv:
    sys.argv.append("uwsgi")
# an embedded interpreter has none, but whoever starts a process of its own asks for it
sys.executable = "/usr/bin/pypy3"
if getattr(lib.uwsgi, "async") > 1:
    print("PyPy: no async here; use processes and threads", file=sys.stderr, flush=True)
    os._exit(1)
lib.uwsgi_pypy_hook_execute_source = lib.on_source
lib.uwsgi_pypy_hook_loader = lib.on_module
lib.uwsgi_pypy_hook_file_loader = lib.on_file
lib.uwsgi_pypy_hook_paste_loader = lib.on_paste
lib.uwsgi_pypy_hook_pythonpath = lib.on_path
lib.uwsgi_pypy_hook_request = lib.on_request
lib.uwsgi_pypy_post_fork_hook = lib.on_fork
