"""Family `contract`: summarise an agreement as labelled lines.

Written from structured facts. Labels fix each fact's role, so that naming both parties the wrong
way round is seen; the closing note is free.
"""

from subnet.core.benchmark.amendments import agreement
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import grade_labelled, summary_task
from subnet.core.benchmark.words import NAMES, remark

SERVICES = ("garden work", "bread delivery", "roof repair", "music lessons", "night watch",
            "book keeping", "boat storage", "wool supply")  # fmt: skip
DEALS = (
    "{client} hires {provider} for {service}.",
    "{provider} provides {service} to {client}.",
    "For {service}, {client} engages {provider}.",
)
FEES = ("The fee is {fee} TAO.", "The price is {fee} TAO.", "The cost is {fee} TAO.")
TERMS = (
    "It runs for {term} months.",
    "The term is {term} months.",
    "It lasts {term} months.",
)
EXTRAS = (
    "Either side may leave with {notice} weeks of notice.",
    "Late payment costs {notice} TAO a day.",
    "Disputes go to a judge within {notice} days.",
)
LABELS = {1: ("Client", "Provider", "Fee"), 2: ("Client", "Provider", "Service", "Fee", "Term")}


class Contract:
    """Tier 1: three facts, one wording of the deal. Tier 2: five, with distracting clauses.

    Tiers 3 to 5: see `amendments`; up to nine facts of a long agreement that was changed.
    """

    name = "contract"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier not in LABELS:
            return self._long(draws, tier)
        client, provider = draws.sample(NAMES, 2)
        service = draws.choice(SERVICES)
        fee, term = str(draws.between(2, 99)), str(draws.between(2, 36))
        text = [
            draws.choice(DEALS[:1] if tier == 1 else DEALS).format(
                client=client, provider=provider, service=service
            ),
            draws.choice(FEES).format(fee=fee),
            draws.choice(TERMS).format(term=term),
        ]
        if tier > 1:
            text += [extra.format(notice=draws.between(2, 36)) for extra in EXTRAS]
        known = {
            "Client": client,
            "Provider": provider,
            "Service": service,
            "Fee": f"{fee} TAO",
            "Term": f"{term} months",
        }
        facts = tuple(Fact(label, known[label]) for label in LABELS[tier])
        lines = "".join(f"{fact.name}: {fact.value}\n" for fact in facts)
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                "Summarise the contract as lines "
                f"{', '.join(fact.name for fact in facts)}, Note.\n{' '.join(text)}"
            ),
            max_tokens=96,
            reference=f"{lines}Note: {remark(draws)}",
            facts=facts,
        )

    def grade(self, task: Task, answer: str) -> float:
        return grade_labelled(task, answer)

    def _long(self, draws: Draws, tier: int) -> Task:
        made = agreement(draws, tier)
        facts = tuple(Fact(label, value) for label, value in made.stands.items())
        return summary_task(
            self.name,
            tier,
            f"Summarise the agreement {made.when}",
            made.text,
            facts,
            remark(draws),
        )
