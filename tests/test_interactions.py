from __future__ import annotations

import dataclasses
import functools
import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import AutopruneError
from autoprune.recommender.data.interactions import FEWEST_USERS, HOW, Interactions, Numbers, split_log
from autoprune.recommender.data.log import Log, read_log
from autoprune.recommender.histories import Histories

# by its name: the package has a function of the same name
MODULE = importlib.import_module("autoprune.recommender.data.interactions")

FirstTimes = dict[tuple[int | str, int | str], int]
"""(user, item) → when first."""


@pytest.fixture
def any_number_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a few users be evaluated, so that a test can be read."""
    monkeypatch.setattr(MODULE, "FEWEST_USERS", 0)


@pytest.fixture
def folder(planted: Path, tmp_path: Path) -> Path:
    """A copy of the planted files, to be damaged."""
    return Path(shutil.copytree(planted, tmp_path / "copy"))


def read_lines(folder: Path, *, seed: int = 0) -> Interactions:
    return split_log(read_log(folder), seed=seed, where=str(folder))


def split_by(
    split: str | None,
    users: Numbers,
    items: Numbers,
    times: Numbers,
    *,
    seed: int = 0,
    titles: dict[int, str] | None = None,
) -> Interactions:
    log = Log.of([pd.DataFrame({"user": users, "item": items, "time": times})])
    return split_log(log, split, seed=seed, where="here", titles=titles)


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    return folder


def lists(data: Interactions, histories: Histories) -> dict[int | str, list[int | str]]:
    """By external ids, users without items left out."""
    return {
        data.users[user]: [data.items[int(item)] for item in histories.of(user)]
        for user in range(len(histories))
        if len(histories.of(user))
    }


@pytest.mark.usefixtures("any_number_of_users")
def test_lines_are_read_as_they_stand(tmp_path: Path) -> None:
    data = read_lines(write(tmp_path, train="7 30 10\n\n3 20 20 10 \n", valid="7 20\n", test="3 30\n7 50\n9 10\n"))
    assert data.users.values.tolist() == [3, 7, 9]
    assert data.items.values.tolist() == [10, 20, 30, 50]
    assert lists(data, data.train) == {3: [10, 20], 7: [10, 30]}
    assert lists(data, data.validation) == {7: [20]}
    assert lists(data, data.test) == {3: [30], 7: [50], 9: [10]}
    assert data.evaluable("test").tolist() == [0, 1]  # user 9 has no history
    assert data.notes == ("1 of 3 users of test have no history and are not judged",)
    assert lists(data, data.seen_before("test")) == {3: [10, 20], 7: [10, 30, 20]}
    assert lists(data, data.seen_before("validation")) == lists(data, data.train)


@pytest.mark.usefixtures("any_number_of_users")
def test_what_was_seen_is_not_to_be_found(tmp_path: Path) -> None:
    data = read_lines(write(tmp_path, train="1 10 20\n2 30\n", valid="1 20 30\n2 10\n", test="1 10 30 40\n2 10 20\n"))
    assert lists(data, data.validation) == {1: [30], 2: [10]}
    assert lists(data, data.test) == {1: [40], 2: [20]}
    assert data.notes == (
        "1 of 3 validation interactions repeat what was seen before and are left out",
        "3 of 5 test interactions repeat what was seen before and are left out",
    )


@pytest.mark.usefixtures("any_number_of_users")
def test_without_a_validation_file_a_tenth_of_every_user_is_held_out(tmp_path: Path) -> None:
    counts = {1: 9, 2: 10, 3: 25, 4: 40}
    train = "\n".join(f"{user} {' '.join(map(str, range(count)))}" for user, count in counts.items())
    folder = write(tmp_path, train=train, test="1 50\n")
    data = read_lines(folder, seed=0)
    assert data.validation.counts.tolist() == [0, 1, 2, 4]
    assert {user: sorted(items) for user, items in lists(data, data.train.joined(data.validation)).items()} == {
        user: list(range(count)) for user, count in counts.items()
    }
    assert data.fingerprint() == read_lines(folder, seed=0).fingerprint()
    assert data.fingerprint() != read_lines(folder, seed=1).fingerprint()


def test_planted_users_keep_what_was_written(planted: Path, data: Interactions) -> None:
    first = [int(word) for word in (planted / "train.txt").read_text().splitlines()[0].split()]
    assert lists(data, data.train)[first[0]] == sorted(first[1:])


def log(seed: int, count: int = 300) -> tuple[Numbers, Numbers, Numbers]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 12, count) * 5, draw.integers(0, 40, count) + 100, draw.integers(0, 50, count)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(list(HOW)), st.integers(0, 1000))
def test_every_split_is_a_partition(split: str, seed: int) -> None:
    users, items, times = log(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "FEWEST_USERS", 0)
        data = split_by(split, users, items, times)
    parts = [lists(data, part) for part in (data.train, data.validation, data.test)]
    found = [(user, item) for part in parts for user, seen in part.items() for item in seen]
    assert len(found) == len(set(found))
    assert set(found) == set(zip(users.tolist(), items.tolist(), strict=True))
    # tenths, rounded a user at a time
    for part in parts[1:]:
        assert sum(map(len, part.values())) == pytest.approx(len(found) / 10, abs=0.5 * 12)


def first_times(users: Numbers, items: Numbers, times: Numbers) -> FirstTimes:
    first: FirstTimes = {}
    for user, item, time in zip(users.tolist(), items.tolist(), times.tolist(), strict=True):
        first[user, item] = min(time, first.get((user, item), time))
    return first


def moments(data: Interactions, part: Histories, first: FirstTimes) -> list[tuple[int | str, int]]:
    return [(user, first[user, item]) for user, items in lists(data, part).items() for item in items]


@pytest.mark.usefixtures("any_number_of_users")
def test_a_global_split_never_looks_ahead() -> None:
    users, items, times = log(0)
    data = split_by("global", users, items, times)
    first = first_times(users, items, times)
    train, validation, test = (
        [time for _, time in moments(data, part, first)] for part in (data.train, data.validation, data.test)
    )
    assert max(train) <= min(validation) <= max(validation) <= min(test)


@pytest.mark.usefixtures("any_number_of_users")
def test_a_split_per_user_holds_out_the_latest_of_each() -> None:
    users, items, times = log(0)
    data = split_by("per_user", users, items, times)
    first = first_times(users, items, times)
    parts = [moments(data, part, first) for part in (data.train, data.validation, data.test)]
    for user in set(users.tolist()):
        train, validation, test = ([time for who, time in part if who == user] for part in parts)
        assert max(train) <= min(validation) <= max(validation) <= min(test)


@functools.cache
def baskets(days: int, *, order: str = "by user") -> tuple[Numbers, Numbers, Numbers]:
    """400 users × 20 of 300 items, the popular of low ids; a user's rows have one of a few times."""
    draw = np.random.default_rng(0)
    popularity = 1 / np.arange(1, 301)
    items = np.concatenate(
        [draw.choice(300, size=20, replace=False, p=popularity / popularity.sum()) for _ in range(400)]
    )
    users, times = np.repeat(np.arange(400), 20), draw.integers(0, days, 8000) * 86400
    rows = {
        "by user": np.arange(8000),
        "by item": np.argsort(items, kind="stable"),
        "by item, the last first": np.argsort(-items, kind="stable"),
    }[order]
    return users[rows], items[rows], times[rows]


@pytest.mark.parametrize("split", ["per_user", "global"])
@pytest.mark.parametrize("days", [1, 3])
@pytest.mark.parametrize("order", ["by item", "by item, the last first"])
def test_what_has_the_same_time_is_held_out_at_random(split: str, days: int, order: str) -> None:
    users, items, times = baskets(days, order=order)
    data = split_by(split, users, items, times)
    means = [part.items.double().mean() for part in (data.train, data.validation, data.test)]
    spread = np.std(items) / np.sqrt(len(data.test.items))
    assert max(abs(mean - np.mean(items)) for mean in means) < 4 * spread
    assert data.fingerprint() == split_by(split, *baskets(days)).fingerprint()
    assert data.fingerprint() != split_by(split, users, items, times, seed=1).fingerprint()
    (note,) = data.notes
    assert re.search(r"of 8,000 interactions share their time .* across a boundary .* drawn by task\.data\.seed", note)
    if days == 1:
        whose = "of their user, " if split == "per_user" else ""
        assert note.startswith(f"8,000 of 8,000 interactions share their time with another {whose}".rstrip(" ,"))


def test_ties_are_counted_and_those_that_do_not_matter_are_not_said() -> None:
    users, items, times = np.repeat(np.arange(300), 10), np.tile(np.arange(10), 300), np.tile(np.arange(10), 300)
    assert split_by("per_user", users, items, times).notes == ()
    early = np.where(times < 5, 0, times)
    assert split_by("per_user", users, items, early).notes == ()
    late = np.where((users < 100) & (times > 7), 8, early)
    (note,) = split_by("per_user", users, items, late).notes
    assert note.startswith(
        "1,700 of 3,000 interactions share their time with another of their user, 200 of them across"
    )
    assert split_by("random", users, items, late).notes == ()
    assert split_by("global", users, items, times).notes == ()  # its boundaries fall between two times
    (whole,) = split_by("global", users, items, times // 4).notes
    assert whole.startswith("3,000 of 3,000 interactions share their time with another, 600 of them across")


def test_the_files_order_is_no_part_of_a_split_by_time() -> None:
    users, items, times = baskets(5)
    shuffled = np.random.default_rng(1).permutation(8000)
    for split in ("per_user", "global"):
        one = split_by(split, users, items, times).fingerprint()
        assert split_by(split, users[shuffled], items[shuffled], times[shuffled]).fingerprint() == one


@pytest.mark.usefixtures("any_number_of_users")
def test_a_random_split_is_drawn_by_its_seed() -> None:
    fingerprints = [split_by("random", *log(0), seed=seed).fingerprint() for seed in (0, 0, 1)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.usefixtures("any_number_of_users")
def test_users_of_one_or_two_items_only_train() -> None:
    users, items = np.array([1, 2, 2, 3, 3, 3]), np.array([1, 1, 2, 1, 2, 3])
    data = split_by("per_user", users, items, np.arange(6))
    assert lists(data, data.train) == {1: [1], 2: [1, 2], 3: [1]}
    assert lists(data, data.validation) == {3: [2]}
    assert lists(data, data.test) == {3: [3]}


@pytest.mark.usefixtures("any_number_of_users")
def test_titles_follow_the_items() -> None:
    pairs = np.array([1, 1, 1]), np.array([30, 10, 20]), np.arange(3)
    assert split_by("per_user", *pairs, titles={10: "Ten", 30: "Thirty"}).titles == [
        "Ten",
        "20",
        "Thirty",
    ]
    assert split_by("per_user", *pairs).titles is None


def test_the_fingerprint_is_of_ids_and_interactions(data: Interactions) -> None:
    assert len(data.fingerprint()) == 12
    assert int(data.fingerprint(), 16) >= 0
    assert dataclasses.replace(data, titles=["x"] * len(data.items)).fingerprint() == data.fingerprint()
    changed = Histories(starts=data.test.starts, items=data.test.items.flip(0))
    renamed = data.users.take(torch.arange(len(data.users)))
    renamed.values[-1] += 1
    assert dataclasses.replace(data, test=changed).fingerprint() != data.fingerprint()
    assert dataclasses.replace(data, users=renamed).fingerprint() != data.fingerprint()


def test_a_split_that_is_not_there_is_refused(data: Interactions) -> None:
    with pytest.raises(AutopruneError, match=r"^split 'tset' is unknown\. Did you mean test\? Available: test, valid"):
        data.targets("tset")
    with pytest.raises(AutopruneError, match=r"^task\.data\.split 'by_user' is unknown\. Did you mean per_user\?"):
        split_by("by_user", *log(0))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match=r"^task\.data\.path: there is no file or folder '.*nowhere'"):
        read_lines(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / f"{name}.txt").unlink()
    with pytest.raises(
        AutopruneError, match=rf"^task\.data\.path: '.*{name}\.txt' is missing; each line of it is `user"
    ):
        read_lines(folder)


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_an_empty_file_is_named(folder: Path, name: str) -> None:
    write(folder, **{name: ""})
    with pytest.raises(AutopruneError, match=rf"{name}\.txt: the file is empty; each line of it is `user item item …`"):
        read_lines(folder)


@pytest.mark.parametrize("word", ["4,5", "-5", "1.0", "x", "²", "1" * 19])
def test_a_malformed_line_is_named_by_its_number(folder: Path, word: str) -> None:
    write(folder, train=f"1 2\n\n2 3 {word} 5\n")
    with pytest.raises(
        AutopruneError, match=r"train\.txt:3: whole numbers >= 0 .* got '.*'; each line is `user"
    ) as caught:
        read_lines(folder)
    assert repr(word) in str(caught.value)


def test_a_user_on_two_lines_is_named_with_both(folder: Path) -> None:
    write(folder, test="1 2\n2 3\n\n1 4\n")
    with pytest.raises(
        AutopruneError, match=r"test\.txt:4: user 1 stands on line 1 too; one line holds all their items"
    ):
        read_lines(folder)


def test_too_few_users_are_counted(tmp_path: Path) -> None:
    write(tmp_path, train="1 10\n2 10\n3 10\n", valid="1 20\n2 20\n", test="1 30\n4 10\n")
    message = (
        rf"at least {FEWEST_USERS} users .* of 4 users validation has 2 and test has 1 "
        r"\(items that a user had seen before do not count\); split the data in another way or use more data"
    )
    with pytest.raises(AutopruneError, match=message):
        read_lines(tmp_path)


def test_a_file_of_blank_lines_has_no_users(tmp_path: Path) -> None:
    write(tmp_path, train="\n\n", valid="1 20\n", test="1 30\n")
    with pytest.raises(AutopruneError, match=r"of 1 users validation has 0 and test has 1"):
        read_lines(tmp_path)
