#!/bin/sh
# Runs inside a fresh distro's tree: builds uWSGI's PyPy plug-in against the uWSGI and the PyPy that
# are in it. uWSGI's own Python half wants a compiler at each start and speaks Python 2 on Debian 12;
# ours (pypy_setup.py) takes its place, and its C declarations are compiled here, once.
set -eu
here=$(dirname "$0")
# where the standard library is, and Debian's libpypy3.9-c.so under the name that the plug-in opens
home=$(pypy3 -c 'import os; print(os.path.dirname(os.__file__))')
library=$(ls /usr/lib/*/libpypy3*-c.so)
ln -sf "$(basename "$library")" "$(dirname "$library")/libpypy-c.so"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/plugins"
cp -r /usr/src/uwsgi/plugins/pypy "$work/plugins/"
cp /usr/src/uwsgi/uwsgiconfig.py "$work/"
cp "$here/pypy_setup.py" "$work/plugins/pypy/"
cd "$work"
# The embedded Python text would make the stack executable, and a C library of 2025 then refuses it.
CFLAGS="-DUWSGI_PYPY_HOME='\"$home\"'" LDFLAGS=-Wl,-z,noexecstack \
    uwsgi --build-plugin plugins/pypy
uwsgi --dot-h > uwsgi.h
pypy3 "$here/interface.py" "$work" "$(uwsgi --cflags)"
install -m 644 pypy_plugin.so /usr/lib/uwsgi/plugins/
install -m 644 _uwsgi_pypy*.so "$home/"
