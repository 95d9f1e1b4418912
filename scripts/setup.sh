#!/usr/bin/env bash
# Builds the virtual environment from the pinned lock. Called by `make setup`; safe to run again.
set -euo pipefail
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv} LOCK=${LOCK:-cpu}

say() { printf '\033[1m[setup %s] %s\033[0m\n' "$1" "$2"; }

if ! "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
    echo "setup: '$PYTHON' is not Python 3.11 to 3.13; install one and name it: make PYTHON=python3.11 ..." >&2
    exit 2
fi

say 1/5 "virtual environment in $VENV"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"

install() {
    "$VENV/bin/python" -m pip --disable-pip-version-check install --no-deps --no-compile "$@" \
        2> >(grep -v 'is ignored: it is neither a file nor a directory' >&2)
}

# --no-deps: the lock is complete, and resolving it would pull CUDA builds of torchvision and
# torchaudio that break transformers beside a CPU torch.
say 2/5 "packages from requirements/$LOCK.lock.txt (a few minutes the first time)"
if [ "$LOCK" = cpu ]; then
    torch=$(grep '^torch==' requirements/cpu.lock.txt)
    install "$torch" 2>/dev/null || install --index-url https://download.pytorch.org/whl/cpu "$torch"
fi
install --progress-bar on -r "requirements/$LOCK.lock.txt" -r requirements/dev.lock.txt \
    | { grep -E '^(Collecting|Downloading|  Downloading|Installing)' | cut -c1-100 || [ $? = 1 ]; }

say 3/5 "the assay command"
install -q --no-build-isolation -e .

say 4/5 "bytecode (halves every later start of an engine)"
# Some packages ship files for other Python versions, which do not compile: not a failure of ours.
"$VENV/bin/python" -m compileall -q -j "$(nproc)" "$VENV"/lib/python3.*/site-packages >/dev/null 2>&1 || true

say 5/5 "bubblewrap, which shuts in answers that are code"
if ! command -v bwrap >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install_bubblewrap() { apt-get install -y --no-install-recommends bubblewrap >/dev/null; }
    install_bubblewrap || { apt-get update >/dev/null && install_bubblewrap; } || true
fi
if command -v bwrap >/dev/null; then
    echo "found $(bwrap --version)"
else
    echo "bubblewrap is missing: only validators that grade code need it (sudo apt-get install bubblewrap)"
fi
