#!/usr/bin/env bash
# The whole truth about a commit: format, lint, strict types, import contracts, tests.
set -euo pipefail
step() { printf '\033[1m== %s\033[0m\n' "$1"; }
step format;    ruff format --check .
step lint;      ruff check .
step types;     mypy
step contracts; lint-imports
step tests;     bash scripts/test.sh fast slow
