"""roster, prober, auditor, second opinion, weight setter: the validator's loops, supervised."""

import asyncio

from subnet.roles.auditor import Auditor
from subnet.roles.prober import Prober
from subnet.roles.roster import Roster
from subnet.roles.second_opinion import SecondOpinions
from subnet.roles.supervisor import Supervisor
from subnet.roles.weight_setter import WeightSetter


async def run_loops(
    roster: Roster,
    prober: Prober,
    auditor: Auditor,
    weight_setter: WeightSetter,
    supervisor: Supervisor,
    second_opinions: SecondOpinions | None = None,
) -> None:
    """Run all loops until the weight setter has set the weights that it was asked for.

    Without `second_opinions` alarms close gates by themselves, as `validator.second_opinion` says.
    A defect in any of them ends all, as an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as group:
        endless = [
            group.create_task(supervisor.keep("roster", roster.run)),
            group.create_task(supervisor.keep("probe", prober.run)),
            group.create_task(supervisor.keep("audit", auditor.run)),
        ]
        if second_opinions is not None:
            asking = supervisor.keep("second opinion", second_opinions.run)
            endless.append(group.create_task(asking))
        await supervisor.keep_until_done("weights", weight_setter.run)
        for task in endless:
            task.cancel()
