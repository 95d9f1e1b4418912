"""asked -> LOAD, SELF-TEST, SCORE -> given: the process of a second engine; see `second_engine`.

Its standard output belongs to the answer alone: whatever an engine prints goes to standard error.
"""

import os
import sys

from subnet.core.canary import canary_of
from subnet.edge.referees import load_referee
from subnet.edge.second_engine import OpinionAsked, OpinionGiven, decode, encode


def opinion(asked: OpinionAsked) -> OpinionGiven:
    """Load the engine and score what was asked. Raises ConfigError, and the engine's own."""
    referee = load_referee(asked.plan)
    canary = canary_of(referee.continued(asked.canary_asked, asked.canary_tokens))
    claims = [*canary.honest, *canary.tampered, *asked.claims]
    return OpinionGiven(canary=canary, scores=tuple(referee.score(claims)))


def main() -> int:
    """Read the question, write the answer."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = decode(sys.stdin.buffer.read(), OpinionAsked)
    try:
        given = opinion(asked)
    except Exception as error:  # noqa: BLE001 - the validator tells its operator in one line
        lines = str(error).strip().splitlines()
        given = OpinionGiven(problem=f"{type(error).__name__}: {lines[0] if lines else ''}")
    with answer:
        answer.write(encode(given))
    return 0 if given.problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
