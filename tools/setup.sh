#!/bin/sh
# Everything that the Makefile's other verbs need: Debian packages, the virtual environment, the built library.
# Safe to repeat: what is there already is left alone.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

# package:command, the command that shows that the package is not needed
packages="gcc:gcc opensc:pkcs11-tool softhsm2:softhsm2-util gnutls-bin:p11tool p11-kit:p11-kit"
packages="$packages valgrind:valgrind libnss3-tools:certutil openjdk-17-jdk-headless:javac apache2-bin:apache2"
missing=""
for pair in $packages; do
    command -v "${pair#*:}" >/dev/null 2>&1 || missing="$missing ${pair%:*}"
done
set -- /usr/lib/*/engines-3/pkcs11.so
[ -e "$1" ] || missing="$missing libengine-pkcs11-openssl"
[ -e /usr/include/openssl/evp.h ] || missing="$missing libssl-dev"
# A distribution's Python keeps its headers and ensurepip in packages of their own.
if command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
    "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
        missing="$missing python3-dev"
else
    missing="$missing python3 python3-venv python3-dev"
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -q
        # shellcheck disable=SC2086 - a list of words is meant
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
    else
        echo "setup: these Debian packages are missing, install them first:$missing" >&2
        echo "setup: going on without them; what needs them is skipped or fails with its own message" >&2
    fi
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
# Hosts never write bytecode, and an editable installation has none yet.
.venv/bin/python -m compileall -q src/mrhsm_p11
