"""Batches of the lab's sampler lose no job and waste little on padding."""

from hypothesis import given
from hypothesis import strategies as st

from subnet.lab.sampler import BATCH_PROMPT_TOKENS, BATCH_ROWS, batches


@given(st.lists(st.integers(1, 20_000), max_size=300))
def test_every_job_is_in_one_batch_within_both_bounds(lengths):
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    found = list(batches(order, lengths))
    assert [place for batch in found for place in batch] == order
    for batch in found:
        assert 1 <= len(batch) <= BATCH_ROWS
        width = max(lengths[place] for place in batch)
        assert len(batch) == 1 or len(batch) * width <= BATCH_PROMPT_TOKENS
