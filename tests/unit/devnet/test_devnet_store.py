"""The devnet's file: whole blocks only, honest about the past, closed to strangers."""

import sqlite3
from pathlib import Path

import pytest

from subnet.devnet.state import RECENT_BLOCKS_MAX, State
from subnet.devnet.store import Block, Store, StoreInUseError, StoreVersionError


def block(number: int) -> Block:
    return Block(number, f"0x{number:064x}", "0x00", number * 1000, "0x", "0x", [], [])


def seal(store: Store, state: State, number: int) -> None:
    store.commit(block(number), state.changes())
    state.seal(number)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StoreVersionError, match="99"):
        Store(path)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but somebody's notes" * 50)
    with pytest.raises(StoreVersionError):
        Store(path)
    assert path.read_text().startswith("not a database")


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    first = Store(tmp_path / "chain.sqlite")
    with pytest.raises(StoreInUseError):
        Store(tmp_path / "chain.sqlite")
    first.close()
    Store(tmp_path / "chain.sqlite").close()


def test_the_past_reads_the_same_from_memory_and_from_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "chain.sqlite")
    state = State(store)
    expected: list[dict[tuple[int], int]] = []
    for number in range(RECENT_BLOCKS_MAX + 20):
        state.put("SubtensorModule.Burn", number % 7, number)
        if number % 3 == 0:
            state.put("SubtensorModule.Burn", (number + 1) % 7, None)
        seal(store, state, number)
        expected.append(dict(state.entries("SubtensorModule.Burn")))
    for source in (state, reopened(store, state.number)):
        for number, rows in enumerate(expected):
            reader = source.at(number)
            assert reader.number == number
            assert dict(reader.entries("SubtensorModule.Burn")) == rows
            assert reader.get("SubtensorModule.Burn", 3) == rows.get((3,), 0)
    store.close()


def reopened(store: Store, number: int) -> State:
    state = State(store)
    state.load(number)
    return state


def test_a_rolled_back_change_leaves_no_trace(tmp_path: Path) -> None:
    store = Store(tmp_path / "chain.sqlite")
    state = State(store)
    state.put("SubtensorModule.Tempo", 1, 10)
    mark = state.savepoint()
    state.put("SubtensorModule.Tempo", 1, 20)
    state.put("SubtensorModule.Tempo", 2, 30)
    state.rollback(mark)
    assert state.changes() == [("SubtensorModule.Tempo", (1,), 10)]
    assert state.peek("SubtensorModule.Tempo", 2) is None
    store.close()


def test_a_block_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "chain.sqlite")
    store.commit(block(1), [("A", (1,), 1)])
    with pytest.raises(sqlite3.IntegrityError):
        store.commit(block(1), [("A", (2,), 2)])
    assert list(store.current()) == [("A", (1,), 1)]
    store.commit(block(2), [("A", (2,), 2)])
    store.close()


@pytest.mark.parametrize("below", [".", "file/chain.sqlite"])
def test_a_path_that_cannot_be_opened_is_a_store_error(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreInUseError, match="cannot be opened"):
        Store(tmp_path / below)
