"""Family `transaction`: explain an on-chain transaction as labelled lines.

The prompt is a decoded record as an explorer prints it. Addresses are shortened to a prefix; from
tier 2 on the total that the sender paid must be added up.
"""

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import grade_labelled, summary_task
from subnet.core.benchmark.traces import trace
from subnet.core.benchmark.words import remark

CALLS = ("transfer", "stake", "unstake", "swap", "burn", "mint")
STATUSES = ("success", "failed")
HEX = "0123456789ABCDEF"
ADDRESS_DIGITS = {1: 3, 2: 8}
LABELS = {
    1: ("From", "To", "Amount", "Status"),
    2: ("From", "To", "Amount", "Fee", "Total", "Status"),
}


class Transaction:
    """Tier 1: four facts to read off. Tier 2: six, one of them a sum, with longer addresses.

    Tiers 3 to 5: see `traces`; up to ten facts of calls, transfers and approvals, some undone.
    """

    name = "transaction"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier not in LABELS:
            return self._long(draws, tier)
        sender, receiver = (_address(draws, ADDRESS_DIGITS[tier]) for _ in range(2))
        call, status = draws.choice(CALLS), draws.choice(STATUSES)
        amount, fee = draws.between(2, 99), draws.between(1, 9)
        record = [
            f"call {call}",
            f"src {sender}",
            f"dst {receiver}",
            f"value {amount} TAO",
            f"fee {fee} TAO",
            f"result {status}",
        ]
        known = {
            "From": sender,
            "To": receiver,
            "Amount": f"{amount} TAO",
            "Fee": f"{fee} TAO",
            "Total": f"{amount + fee} TAO",
            "Status": status,
        }
        facts = tuple(Fact(label, known[label]) for label in LABELS[tier])
        lines = "".join(f"{fact.name}: {fact.value}\n" for fact in facts)
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                "Explain the transaction as lines "
                f"{', '.join(fact.name for fact in facts)}, Note.\n"
                f"{', '.join(record[:1] + list(draws.sample(record[1:], len(record) - 1)))}"
            ),
            max_tokens=96,
            reference=f"{lines}Note: {remark(draws)}",
            facts=facts,
        )

    def grade(self, task: Task, answer: str) -> float:
        return grade_labelled(task, answer)

    def _long(self, draws: Draws, tier: int) -> Task:
        made = trace(draws, tier)
        facts = tuple(Fact(label, value) for label, value in made.facts.items())
        return summary_task(
            self.name, tier, "Explain the transaction", made.text, facts, remark(draws)
        )


def _address(draws: Draws, digits: int) -> str:
    return "0x" + "".join(draws.choice(HEX) for _ in range(digits))
