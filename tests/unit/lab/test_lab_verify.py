"""What `assay lab verify` does with what people get wrong."""

import pytest

from subnet.cli.exits import UsageError
from subnet.cli.lab_verify import _attacks


class Mine:
    name = "mine"
    summary = "my own"

    def answers(self, lab, questions):
        return []


def test_an_unknown_attack_is_named_beside_the_known_ones():
    with pytest.raises(UsageError, match="--attack mind reading: known are smaller model"):
        _attacks(["mind reading"], [])


@pytest.mark.parametrize("path", ["no.such.module:A", "subnet.lab.attacks:Nothing", "subnet"])
def test_an_adversary_that_is_not_there_is_one_line(path):
    with pytest.raises(UsageError, match="give module:Class"):
        _attacks([], [path])


def test_an_adversary_of_ones_own_plays_alone_or_beside_others():
    path = f"{__name__}:Mine"
    assert [one.name for one in _attacks([], [path])] == ["mine"]
    assert [one.name for one in _attacks(["replay"], [path])] == ["replay", "mine"]
