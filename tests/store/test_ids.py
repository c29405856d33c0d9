"""Ids of handlers and of runs."""

from __future__ import annotations

import os
import time
import warnings

import pytest

from workflow_server.store.ids import new_handler_id, new_run_id


def test_run_ids_sort_by_the_time_at_which_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for milliseconds in (0, 1, 61, 62, 1_800_000_000_000, 1_800_000_000_001, 4_390_000_000_000):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        made.append(new_run_id())
    assert made == sorted(made)
    assert {len(run_id) for run_id in made} == {18}
    assert all(run_id.isascii() and run_id.isalnum() for run_id in made)


def test_run_ids_of_one_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)
    assert len({new_run_id() for _ in range(10_000)}) == 10_000


def test_a_forked_child_makes_other_ids() -> None:
    new_handler_id()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Later Pythons warn of a fork beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        os.write(writer, new_handler_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    of_child = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert len(of_child) == 10
    assert of_child != new_handler_id()


def test_ids_of_handlers_are_ten_letters_and_digits_of_all_kinds() -> None:
    made = {new_handler_id() for _ in range(10_000)}
    assert len(made) == 10_000
    assert {len(handler_id) for handler_id in made} == {10}
    assert len(set("".join(made))) == 62, "each letter and digit comes up"
    firsts = {handler_id[0] for handler_id in made}
    assert len(firsts) == 62, "in the first place, too"
