"""Tiers 3 to 5 of `governance`: a vote that has to be counted by its rules.

Tier 3: votes with weights, a quorum and a threshold. Tier 4: delegations, changed votes and a veto.
Tier 5: chains of delegation, locks that multiply weights, votes after the close, and amendments of
the proposal that are voted on themselves.
"""

from dataclasses import dataclass
from typing import Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.words import NAMES, SURNAMES

SETTINGS = ("burn rate", "block reward", "entry fee", "vote period", "stake limit", "tax rate",
            "bond size", "unlock delay", "slash share", "proposal deposit")  # fmt: skip
VOTERS: Final = {3: 10, 4: 20, 5: 45}
CHOICES: Final = {3: ("aye", "no", "abstain"), 4: ("aye", "aye", "no", "abstain", "veto")}
LABELS: Final = {
    3: ("Setting", "New value", "Ayes", "Noes", "Turnout", "Outcome"),
    4: ("Setting", "New value", "Ayes", "Noes", "Vetoes", "Turnout", "Outcome"),
    5: ("Proposal", "Setting", "Old value", "New value", "Ayes", "Noes", "Vetoes", "Turnout",
        "Outcome"),
}  # fmt: skip
LOCKS: Final = {1: 1, 2: 2, 4: 3, 8: 4}
"""Weeks of a lock -> what multiplies the weight."""


@dataclass
class Voter:
    """Whoever holds a weight: what they chose, or whom they follow."""

    name: str
    weight: int
    choice: str | None = None
    follows: str | None = None
    lock: int = 1
    is_late: bool = False

    @property
    def counts(self) -> int:
        """Weight with its lock."""
        return self.weight * LOCKS[self.lock]


@dataclass
class Poll:
    """The whole text, and the facts by label."""

    text: str
    facts: dict[str, str]


def poll(draws: Draws, tier: int) -> Poll:
    """A proposal with its votes."""
    number, setting = draws.between(1, 99), draws.choice(SETTINGS)
    old, new = draws.sample(range(2, 60), 2)
    voters = _voters(draws, tier)
    text = [f"Proposal {number} would move the {setting} from {old} to {new}."]
    if tier > 4:
        new, said = _amended(draws, new)
        text += said
    tally = _tally(voters)
    turnout = sum(tally.values())
    supply = turnout + draws.between(1, max(2, turnout))
    quorum, threshold = draws.between(40, 70), draws.between(30, 60)
    text += _rules(tier, supply, quorum, threshold)
    text += _said(draws, voters, tier)
    facts = {
        "Proposal": str(number),
        "Setting": setting,
        "Old value": str(old),
        "New value": str(new),
        "Ayes": str(tally["aye"]),
        "Noes": str(tally["no"]),
        "Vetoes": str(tally["veto"]),
        "Turnout": str(turnout),
        "Outcome": _outcome(tally, supply, quorum, threshold, has_veto=tier > 3),
    }
    return Poll(" ".join(text), {label: facts[label] for label in LABELS[tier]})


def _voters(draws: Draws, tier: int) -> list[Voter]:
    names = [f"{one} {two}" for one in NAMES for two in SURNAMES]
    chosen = draws.sample(names, VOTERS[tier])
    voters: list[Voter] = []
    for place, name in enumerate(chosen):
        voter = Voter(name, draws.between(5, 400))
        if tier > 3 and place > 2 and draws.chance(1, 3):
            # Only earlier names are followed, so that no chain runs in a circle.
            known = voters if tier > 4 else [one for one in voters if one.follows is None]
            voter.follows = draws.choice(known).name
        else:
            voter.choice = draws.choice(CHOICES[min(tier, 4)])
        if tier > 4:
            voter.lock = draws.choice(tuple(LOCKS))
            voter.is_late = voter.follows is None and draws.chance(1, 8)
        voters.append(voter)
    return voters


def _tally(voters: list[Voter]) -> dict[str, int]:
    by_name = {voter.name: voter for voter in voters}
    tally = dict.fromkeys(("aye", "no", "abstain", "veto"), 0)
    for voter in voters:
        source = voter
        while source.follows is not None:
            source = by_name[source.follows]
        if source.choice is not None and not source.is_late:
            tally[source.choice] += voter.counts
    return tally


def _outcome(
    tally: dict[str, int], supply: int, quorum: int, threshold: int, *, has_veto: bool
) -> str:
    turnout = sum(tally.values())
    decided = turnout - tally["abstain"]
    if turnout * 100 < supply * quorum:
        return "no quorum"
    if has_veto and tally["veto"] * 3 > turnout:
        return "vetoed"
    return "passed" if tally["aye"] * 100 > decided * threshold else "failed"


def _rules(tier: int, supply: int, quorum: int, threshold: int) -> list[str]:
    veto = (
        ", vetoed if there is a quorum and vetoes are more than a third of the turnout"
        if tier > 3
        else ""
    )
    said = [
        f"The supply is {supply} votes. The turnout is all votes cast, abstentions too.",
        f"The outcome is no quorum if the turnout is below {quorum} percent of the supply{veto}; "
        f"otherwise passed if ayes are more than {threshold} percent of all votes without the "
        "abstentions, and failed if not.",
    ]
    if tier > 3:
        said.append(
            "Whoever follows another votes as that one does in the end, with their own weight."
        )
        said.append("Of two votes of one voter the later one counts.")
    if tier > 4:
        locks = ", ".join(f"{factor} times after {weeks}" for weeks, factor in LOCKS.items())
        said.append(f"A lock in weeks multiplies the voter's weight: {locks}.")
        said.append("Late votes count for nothing, also for those who follow them.")
    return said


def _said(draws: Draws, voters: list[Voter], tier: int) -> list[str]:
    """Who voted how, in random order; a few take an earlier vote back."""
    early, said = [], []
    for voter in draws.sample(voters, len(voters)):
        lock = f" locked for {voter.lock} weeks" if tier > 4 else ""
        held = f"{voter.name}, {voter.weight} votes{lock},"
        if voter.follows is not None:
            said.append(f"{held} follows {voter.follows}.")
            continue
        if tier > 3 and not voter.is_late and draws.chance(1, 5):
            early.append(f"{held} first voted {draws.choice(CHOICES[4])}.")
        late = " after the close" if voter.is_late else ""
        said.append(f"{held} voted {voter.choice}{late}.")
    return early + said


def _amended(draws: Draws, new: int) -> tuple[int, list[str]]:
    """The value after amendments in their order, each of which needs more ayes than noes."""
    said = ["An amendment is adopted with more ayes than noes; the last one adopted counts."]
    for number in range(1, draws.between(3, 6)):
        value, ayes, noes = draws.between(2, 60), draws.between(10, 900), draws.between(10, 900)
        noes += ayes == noes
        said.append(
            f"Amendment {number} puts {value} in place of the new value: {ayes} ayes, {noes} noes."
        )
        new = value if ayes > noes else new
    return new, said
