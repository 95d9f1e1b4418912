"""secret, hotkeys -> COVER -> bursts: who is probed together, when, for how long, how hard.

A cover cuts the hotkeys into blocks of half a group, in an order drawn from the secret; each burst
takes two blocks, so all pairs of blocks bring all pairs of hotkeys together. With b blocks a cover
takes b (b - 1) / 2 bursts, and half as many again at most for second tries. Hotkeys
whose rate depended on their company ride along in every burst, so that those that share an engine
always meet. Up to one group of hotkeys is probed all together each time.

By the time a period's secret is revealed a cover of it may still run. What miners learn by that is
who will meet whom, which they see anyway once asked; pairs, instants and durations come from the
secret that is then in use.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from subnet.core.audit import PPM
from subnet.core.benchmark.draws import Draws
from subnet.core.capacity import ONE_BLOCK, Capacity, CapacityParams

COVERS_REMEMBERED = 6
"""Who had a second try within so many covers leaves half of them to others."""
DAY_SECONDS = 86_400
PERIODS_MAX = 24
"""How many periods may pass between the draw of a burst's instant and the burst: one, with as many
bursts as by default; with less than one in two epochs the secret is revealed before, and tells."""
LATE_SECONDS_MAX = 5.0
"""How much later than its instant a burst may begin."""
_UNIT = 2**64

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cover:
    """Blocks that are fixed until all pairs of them were probed."""

    number: int
    """`ONE_BLOCK` where all hotkeys are one."""
    blocks: tuple[tuple[str, ...], ...]

    @property
    def hotkeys(self) -> frozenset[str]:
        """All that have a place in it."""
        return frozenset(itertools.chain(*self.blocks))


@dataclass(frozen=True, slots=True)
class Turn:
    """A validator's place among those that share the clock, of `turns` in each interval."""

    number: int
    turns: int


def draw_cover(
    secret: bytes,
    number: int,
    hotkeys: Iterable[str],
    shortfalls_ppm: Mapping[str, int],
    params: CapacityParams,
) -> Cover:
    """The cover with this number, above 0. `shortfalls_ppm` holds those whose rate depends on
    company: they share the first blocks, the largest shortfall first."""
    drawn = sorted(hotkeys, key=lambda hotkey: _key(b"place", secret, number, hotkey))
    if len(drawn) <= params.group_size:
        return Cover(ONE_BLOCK, (tuple(drawn),) if drawn else ())
    drawn.sort(key=lambda hotkey: -shortfalls_ppm.get(hotkey, 0))
    return Cover(number, _cut(drawn, params.group_size // 2))


def suspects_of(known: Mapping[str, Capacity], shortfall_ppm: int) -> dict[str, int]:
    """Shortfalls above `shortfall_ppm` by hotkey, the largest first."""
    found = {
        hotkey: capacity.shortfall_ppm
        for hotkey, capacity in known.items()
        if capacity.shortfall_ppm > shortfall_ppm
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def pairs(blocks: int) -> list[Pair]:
    """Pairs of blocks in one cover; a single block meets itself."""
    return [(0, 0)] if blocks == 1 else list(itertools.combinations(range(blocks), 2))


def retries_max(blocks: int) -> int:
    """How many bursts of one cover may be tried again."""
    return len(pairs(blocks)) // 2 if blocks > 1 else 0


def tried_again_for(
    fallen: Iterable[str], asked: Mapping[str, int], cover: int, left: int, blocks: int
) -> frozenset[str]:
    """For whose sake a burst is tried again; for nobody's if it is empty.

    `fallen` gave less than they can. `asked` tells in which cover each last had a second try, by
    a count of covers that now stands at `cover`; one cover gives each hotkey one. Of a cover's
    second tries, of which `left` are left, half are for those that had none lately: a few that fall
    in every cover cannot use up what others need once.
    """
    asking = frozenset(hotkey for hotkey in fallen if asked.get(hotkey) != cover)
    is_rare = any(cover - asked.get(one, -COVERS_REMEMBERED) >= COVERS_REMEMBERED for one in asking)
    reserved = 0 if is_rare else retries_max(blocks) // 2
    return asking if left > reserved else frozenset()


def cover_seconds_max(hotkeys: int, params: CapacityParams) -> float:
    """Within which time all pairs of so many hotkeys have been probed together."""
    blocks = 1
    if hotkeys > params.group_size:
        blocks = -(-hotkeys // (params.group_size // 2))
    return (len(pairs(blocks)) + retries_max(blocks)) * interval_seconds(params)


def draw_pair(
    secret: bytes, burst: int, left: Sequence[Pair], cover: Cover, met_ppm: Mapping[str, int]
) -> Pair:
    """Which of the pairs that are left comes next: whose hotkeys have met least of the others in
    any cover, then by draw. So newcomers are proven first, and all at the same pace."""
    unmet = [sum(PPM - met_ppm[hotkey] for hotkey in block) for block in cover.blocks]

    def rank(pair: Pair) -> tuple[int, int]:
        first, second = pair
        missing = unmet[first] + unmet[second]
        return -missing, _key(b"pair", secret, burst, f"{first},{second}")

    return min(left, key=rank)


def group_of(
    cover: Cover,
    pair: Pair,
    suspects: Iterable[str],
    newcomers: Iterable[str],
    params: CapacityParams,
) -> dict[str, tuple[int, ...]]:
    """Who takes part in a burst, each with the blocks that it meets there.

    Half a group of `suspects` may ride along, the first ones first, and a quarter of `newcomers`,
    which have no place in the cover yet. Its own block counts only for who rides along, as the
    others are never without theirs.
    """
    first, second = pair
    both = tuple(dict.fromkeys(pair))
    half, quarter = params.group_size // 2, newcomers_max(params)
    riders = [*itertools.islice(suspects, half), *itertools.islice(newcomers, quarter)]
    group: dict[str, tuple[int, ...]] = dict.fromkeys(cover.blocks[first], (second,))
    group |= dict.fromkeys(cover.blocks[second], (first,))
    return group | dict.fromkeys(riders, both)


def newcomers_max(params: CapacityParams) -> int:
    """How many that have no place in a cover yet may ride along in a burst."""
    return max(1, params.group_size // 4)


def met_ppm(cover: Cover, beside: Sequence[int]) -> int:
    """Which share of a cover one burst is for a hotkey; the shares of all its bursts make a whole.

    Members of a block meet another one in each of theirs. Who rides along meets two blocks at once,
    and is paid no sooner.
    """
    blocks = len(cover.blocks)
    bursts = blocks * (blocks - 1) // 2 if len(beside) > 1 else blocks - 1
    return -(-PPM // max(1, bursts))


def turn_of(own_hotkey: str, validators_by_stake: Sequence[str], params: CapacityParams) -> Turn:
    """When this validator may probe, so that no two load a miner at once.

    An interval between bursts holds as many turns as fit the longest burst; validators take them
    in order of stake, and only beyond that number do two share one.
    """
    turns = max(1, min(turns_max(params), len(validators_by_stake)))
    rank = validators_by_stake.index(own_hotkey) if own_hotkey in validators_by_stake else 0
    return Turn(rank % turns, turns)


def turns_max(params: CapacityParams) -> int:
    """How many validators may probe one after the other in each interval."""
    return max(1, int(interval_seconds(params) // burst_seconds_max(params)))


def interval_seconds(params: CapacityParams) -> float:
    """From one burst to the next, on average."""
    return DAY_SECONDS / params.bursts_per_day


def burst_at(seconds: float, params: CapacityParams) -> int:
    """The number of the interval that `seconds` since the epoch of the wall clock lie in: the whole
    second at which it starts. So numbers rise whatever becomes of `bursts_per_day`."""
    return _start_of(int(seconds / interval_seconds(params)), params)


def burst_from(number: int, params: CapacityParams) -> int:
    """The lowest number of an interval that is not below `number`."""
    return _start_of(_index(number, params), params)


def burst_before(number: int, params: CapacityParams) -> int:
    """The highest number of an interval that is below `number`."""
    return _start_of(_index(number, params) - 1, params)


def bursts_between(first: int, last: int, params: CapacityParams) -> int:
    """How many intervals have a number from `first` to `last`."""
    return _index(last + 1, params) - _index(first, params)


def burst_starts_at(secret: bytes, burst: int, turn: Turn, params: CapacityParams) -> float:
    """Seconds since the epoch of the wall clock at which burst `burst` starts: anywhere in this
    validator's part of the interval with that number that leaves it time to end."""
    part = interval_seconds(params) / turn.turns
    earliest = _index(burst, params) * interval_seconds(params) + turn.number * part
    slack = max(0.0, part - burst_seconds_max(params))
    return earliest + slack * _uniform(b"start", secret, burst)


def burst_seconds(secret: bytes, burst: int, params: CapacityParams) -> float:
    """How long a burst lasts, its ramp included."""
    low, high = params.duration_seconds_min, params.duration_seconds_max
    return low + (high - low) * _uniform(b"seconds", secret, burst)


def ramp_seconds(params: CapacityParams) -> float:
    """For how long the load of every burst rises."""
    return params.duration_seconds_min * params.ramp_ppm / PPM


def counted_window(start_us: int, params: CapacityParams) -> range:
    """When what arrives counts, in microseconds of the clock of `start_us`.

    From the start, or answers could be held back until it opens, until the shortest burst would
    end: whoever rents a GPU when requests pile up has it later. How long the load goes on is drawn,
    so that nobody knows when to stop.
    """
    return range(start_us, start_us + round(params.duration_seconds_min * 1_000_000))


def burst_seconds_max(params: CapacityParams) -> float:
    """Within which time a burst is over, its last answers included."""
    return params.duration_seconds_max + params.answer_seconds_max


def arrivals_seconds(
    secret: bytes, burst: int, hotkey: str, users: int, params: CapacityParams
) -> list[float]:
    """When each of a hotkey's users comes, since the burst's start, in order.

    A Poisson stream whose rate rises linearly over the ramp, given that `users` come.
    """
    draws = Draws(b"assay/burst/arrivals/1", secret, _number(burst), hotkey.encode())
    ramp = ramp_seconds(params)
    return sorted(ramp * (draws.word() / _UNIT) ** 0.5 for _ in range(users))


def _start_of(index: int, params: CapacityParams) -> int:
    return index * DAY_SECONDS // params.bursts_per_day


def _index(number: int, params: CapacityParams) -> int:
    """How many intervals have a number below `number`."""
    return -(-number * params.bursts_per_day // DAY_SECONDS)


def _cut(ordered: Sequence[str], size_max: int) -> tuple[tuple[str, ...], ...]:
    """Blocks of sizes that differ by one at most."""
    count = -(-len(ordered) // size_max)
    borders = [len(ordered) * number // count for number in range(count + 1)]
    return tuple(tuple(ordered[start:stop]) for start, stop in itertools.pairwise(borders))


def _key(label: bytes, secret: bytes, number: int, name: str) -> int:
    return Draws(b"assay/burst/" + label + b"/1", secret, _number(number), name.encode()).word()


def _uniform(label: bytes, secret: bytes, number: int) -> float:
    return _key(label, secret, number, "") / _UNIT


def _number(number: int) -> bytes:
    return number.to_bytes(8, "little")
