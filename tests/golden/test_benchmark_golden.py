"""The tiers that the shipped release was trained and calibrated on never change by a byte.

The digests were taken before the harder tiers were written. A new one here means that the shipped
weights, their calibration and every published figure belong to tasks that no longer exist.
"""

import hashlib

import pytest

from subnet.core.benchmark import FAMILIES, generate_task

TASKS = 200
DIGESTS = {
    ("arithmetic", 1): "b71f4dc154326c1da33c5f14c192c18546d504d50055aa802cdfeb17f0ed9bfc",
    ("arithmetic", 2): "bdb29646c241169b9432c735ae8bc64146c4d693f53e6ec6fe6a0fb1de925d4a",
    ("extraction", 1): "24262441f32e28d42e6c9b55d2ef8ac55158cba3f428b9aa5e26ca511071eacb",
    ("extraction", 2): "07539adaabe581f39b1e46c41d1aac50fd1dc21746f749611adefb02908ccd54",
    ("retrieval", 1): "a5fd1534502bfc70cc8b9908ecda935e216c8218586a44032511446a72c7367f",
    ("retrieval", 2): "499bedeb7c2bd011935629864ce4f60aa328681c3e7eb79f722bb47ab40ed983",
    ("instructions", 1): "58402a10cb242622c034b5c0da6ee69148d801aa3f38a9cc7dd7f61564aa9937",
    ("instructions", 2): "6884a12f8429f56e5ca6605bb8ee2c5cc566882db17bdff99fe7ac3d91b135d7",
    ("code", 1): "f5cd283cdcb5028f6e745bce5baf0c3b1e56c1d74032a0b7d77ce5d82bc0660b",
    ("code", 2): "dbc3382a9a93a132d08f053521ad2bcced5516da5818640481cd840fcec70307",
    ("contract", 1): "19d57aeb3c443ad9c794b79bcab6327fe712c61a234ec6b65539876e82d37bd0",
    ("contract", 2): "b540326dc46acc46091f0a25cafa8ef8fe30c6e3b81e3eba95092a2ea5d414e2",
    ("governance", 1): "6bd24e07d9eab45a4b6b7cbb0558ee2da511ec2fc0642a5f22dc42bdf340d29b",
    ("governance", 2): "8b58f3e9519a45685dea55ea4146e3fa08210d9de2be7925a6fc649af609c3f4",
    ("transaction", 1): "a9241fee24cc55c05c5604410bf2ba44897e7f3cccb2b032907e7acabcfdaf7b",
    ("transaction", 2): "eb2913be2f960baee00f95b7ccd0aa3142d91e773cc8abb0fac4e21c1dca6190",
    ("open", 1): "4c0c62b84a2a5567abc4c0b18bd503f4b71dd75cf1ec44b71dffc332fbdd5ced",
    ("open", 2): "75569264d296c08b3075f5e60c43954c838a0a14034685412f041593ee1a852b",
}


def digest_of(family: str, tier: int) -> str:
    """SHA-256 over everything in the first TASKS tasks, length-prefixed."""
    found = hashlib.sha256()
    for number in range(TASKS):
        task = generate_task(family, b"golden" + number.to_bytes(4, "big"), tier)
        structure = "" if task.structure is None else task.structure.text
        facts = [text for fact in task.facts for text in (fact.name, fact.value)]
        for part in (task.prompt, task.reference, str(task.max_tokens), structure, *facts):
            data = part.encode()
            found.update(len(data).to_bytes(4, "big") + data)
    return found.hexdigest()


@pytest.mark.parametrize(("family", "tier"), DIGESTS)
def test_the_trained_tiers_are_byte_identical(family, tier):
    assert digest_of(family, tier) == DIGESTS[family, tier]


def test_every_shipped_family_is_pinned():
    assert {family for family, _ in DIGESTS} == set(FAMILIES)
