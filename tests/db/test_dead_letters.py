from __future__ import annotations

import fcntl
import threading
from pathlib import Path

from server.db import dead_letters


def letter(n: int, user: str) -> dict[str, object]:
    return {"n": n, "error": "e", "change": {"change": "user_seen", "user_id": user, "deep": [{"x": n}]}}


def test_letters_of_a_person(tmp_path: Path) -> None:
    assert dead_letters.naming(tmp_path, "ann") == []
    assert dead_letters.erase(tmp_path, "ann") == 0
    for n, user in enumerate(["ann", "ben", "anna", "ann"]):
        dead_letters.append(tmp_path, letter(n, user))
    with open(tmp_path / dead_letters.NAME, "ab") as file:
        file.write(b"ann \xff is no JSON\n")
    assert [one["n"] for one in dead_letters.naming(tmp_path, "ann")] == [0, 3]
    assert dead_letters.erase(tmp_path, "ann") == 2
    assert dead_letters.naming(tmp_path, "ann") == []
    kept = (tmp_path / dead_letters.NAME).read_bytes().splitlines()
    assert len(kept) == 3
    assert [one["n"] for name in ("ben", "anna") for one in dead_letters.naming(tmp_path, name)] == [1, 2]


def test_a_letter_that_comes_during_an_erasure_is_kept(tmp_path: Path) -> None:
    dead_letters.append(tmp_path, letter(1, "ann"))
    with open(tmp_path / dead_letters.NAME, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threads = [
            threading.Thread(target=dead_letters.append, args=(tmp_path, letter(2, "ben"))),
            threading.Thread(target=dead_letters.erase, args=(tmp_path, "ann")),
        ]
        for thread in threads:
            thread.start()
        fcntl.flock(held, fcntl.LOCK_UN)
        for thread in threads:
            thread.join()
    assert (tmp_path / dead_letters.NAME).read_bytes().count(b"\n") == 1
    assert [one["n"] for one in dead_letters.naming(tmp_path, "ben")] == [2]
