"""roster, prober, auditor, weight setter: the validator's four loops, supervised."""

import asyncio

from subnet.roles.auditor import Auditor
from subnet.roles.prober import Prober
from subnet.roles.roster import Roster
from subnet.roles.supervisor import Supervisor
from subnet.roles.weight_setter import WeightSetter


async def run_loops(
    roster: Roster,
    prober: Prober,
    auditor: Auditor,
    weight_setter: WeightSetter,
    supervisor: Supervisor,
) -> None:
    """Run all loops until the weight setter has set the weights that it was asked for.

    A defect in any of them ends all, as an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as group:
        endless = [
            group.create_task(supervisor.keep("roster", roster.run)),
            group.create_task(supervisor.keep("probe", prober.run)),
            group.create_task(supervisor.keep("audit", auditor.run)),
        ]
        await supervisor.keep_until_done("weights", weight_setter.run)
        for task in endless:
            task.cancel()
