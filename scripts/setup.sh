#!/usr/bin/env bash
# Builds the virtual environment from the pinned lock. Called by `make setup`; safe to run again.
set -euo pipefail
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv} LOCK=${LOCK:-cpu}

say() { printf '\033[1m[setup %s] %s\033[0m\n' "$1" "$2"; }

if ! "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
    echo "setup: $PYTHON is not Python 3.11 to 3.13: install one and run 'make PYTHON=/path/to/python3.11 ...'" >&2
    exit 2
fi

say 1/4 "virtual environment in $VENV"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
pip=("$VENV/bin/python" -m pip --disable-pip-version-check)

# --no-deps: the lock is complete, and resolving would pull CUDA builds of torchvision and
# torchaudio that break transformers beside a CPU torch.
say 2/4 "packages from requirements/$LOCK.lock.txt (about 2 GB on disk)"
lock_args=(--no-deps -r "requirements/$LOCK.lock.txt" -r requirements/dev.lock.txt)
if [ "$LOCK" = cpu ] && ! "$VENV/bin/python" -c 'import torch' 2>/dev/null; then
    torch_pin=$(grep '^torch==' requirements/cpu.lock.txt)
    "${pip[@]}" install --no-deps "$torch_pin" 2>/dev/null \
        || "${pip[@]}" install --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch_pin"
fi
"${pip[@]}" install --no-compile --progress-bar on "${lock_args[@]}" | grep -vE '^(Looking in|Requirement already)' || true
"${pip[@]}" check >/dev/null 2>&1 || true

say 3/4 "the assay command"
"${pip[@]}" install -q --no-deps --no-build-isolation -e .

say 4/4 "bytecode (halves every later start of an engine)"
"$VENV/bin/python" -m compileall -q -j "$(nproc)" "$VENV"/lib/python3.*/site-packages >/dev/null 2>&1 || true
