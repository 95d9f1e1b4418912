"""Family `governance`: summarise a proposal and its vote as labelled lines.

Written from structured facts; the closing note is free. From tier 2 on the outcome is not stated:
it follows from the votes.
"""

from subnet.core.benchmark.assembly import poll
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import grade_labelled, summary_task
from subnet.core.benchmark.words import remark

SETTINGS = ("burn rate", "block reward", "entry fee", "vote period", "stake limit", "tax rate",
            "bond size", "quorum")  # fmt: skip
CHANGES = (
    "Proposal {number} would move the {setting} from {old} to {new}.",
    "Proposal {number} changes the {setting} from {old} to {new}.",
    "Under proposal {number} the {setting} goes from {old} to {new}.",
)
VOTES = ("{ayes} voted for and {noes} against.", "There were {ayes} ayes and {noes} noes.")
OUTCOMES = ("It has {outcome}.", "The proposal {outcome}.", "In the end it {outcome}.")
LABELS = {
    1: ("Setting", "New value", "Outcome"),
    2: ("Proposal", "Setting", "Old value", "New value", "Outcome"),
}


class Governance:
    """Tier 1: three facts, outcome stated. Tier 2: five facts, outcome to be worked out.

    Tiers 3 to 5: see `assembly`; up to nine facts of a vote with quorum, vetoes and delegations.
    """

    name = "governance"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier not in LABELS:
            return self._long(draws, tier)
        number, setting = str(draws.between(1, 99)), draws.choice(SETTINGS)
        old, new = (str(value) for value in draws.sample(range(2, 60), 2))
        ayes, noes = draws.sample(range(10, 100), 2)
        outcome = "passed" if ayes > noes else "failed"
        text = [
            draws.choice(CHANGES).format(number=number, setting=setting, old=old, new=new),
            draws.choice(VOTES).format(ayes=ayes, noes=noes)
            if tier > 1
            else draws.choice(OUTCOMES).format(outcome=outcome),
        ]
        known = {
            "Proposal": number,
            "Setting": setting,
            "Old value": old,
            "New value": new,
            "Outcome": outcome,
        }
        facts = tuple(Fact(label, known[label]) for label in LABELS[tier])
        lines = "".join(f"{fact.name}: {fact.value}\n" for fact in facts)
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                "Summarise the proposal as lines "
                f"{', '.join(fact.name for fact in facts)}, Note.\n{' '.join(text)}"
            ),
            max_tokens=96,
            reference=f"{lines}Note: {remark(draws)}",
            facts=facts,
        )

    def grade(self, task: Task, answer: str) -> float:
        return grade_labelled(task, answer)

    def _long(self, draws: Draws, tier: int) -> Task:
        made = poll(draws, tier)
        facts = tuple(Fact(label, value) for label, value in made.facts.items())
        return summary_task(
            self.name,
            tier,
            "Summarise the proposal and count its vote",
            made.text,
            facts,
            remark(draws),
        )
