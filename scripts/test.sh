#!/usr/bin/env bash
# Runs the named parts of the tests; what follows them goes to pytest. The fast part shares the
# cores; the slow one has them to itself, because engines and timed processes suffer from company.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE= # Hundreds of processes start: compile once what they all import.
# Threads of torch that wait for each other spin: with company that cost 20 times the work itself.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
parts=()
while [[ ${1:-} == fast || ${1:-} == slow ]]; do parts+=("$1"); shift; done
for part in "${parts[@]}"; do
    case $part in
        fast) which=(-n 2 --dist loadfile -m "not engine and not e2e and not long") ;;
        slow) which=(-m "(engine or e2e) and not long") ;;
    esac
    # 5: nothing was selected, as with `make test ARGS="-k demo"` in the fast part.
    python -m pytest "${which[@]}" "$@" || [ $? = 5 ]
done
