"""What goes wrong with one recipe is recorded with its reason, and the search goes on; where all fails, it ends so."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import AutopruneError, Diverged, Failed, RecipeError, of_recipe, reason_of
from autoprune.record.failures import Failure, Failures


def failure(key: str, reason: str = "out of memory") -> Failure:
    return Failure(name="trial", key=key, recipe={"dims": {"sparsity": 0.5}}, summary="dims -50%", reason=reason)


def test_failures_come_back_as_they_were_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    failures = Failures(path)
    failures.add(failure("a"))
    failures.add(failure("b"))
    path.write_bytes(path.read_bytes() + b"no failure\n" + path.read_bytes()[:40])
    again = Failures(path)
    assert again.found == failures.found == {"a": failure("a"), "b": failure("b")}
    again.add(failure("c", "diverged"))
    assert Failures(path).found == again.found


def test_what_was_made_since_is_no_failure(tmp_path: Path) -> None:
    failures = Failures(tmp_path / "failed.jsonl")
    assert failures.text(()) == ""
    for key, reason in (("a", "diverged"), ("b", "out of memory"), ("c", "out of memory")):
        failures.add(failure(key, reason))
    assert failures.text(()).startswith("3 recipes failed, most often: out of memory\n")
    assert failures.text(("b", "c")).startswith("1 recipe failed: diverged\n")
    assert failures.text(("a", "b", "c")) == ""


def out_of_memory() -> None:
    torch.empty(10**15)


def broken() -> None:
    _ = {}["a step"]


BREAKS: dict[str, tuple[Callable[[], Any], str]] = {
    "memory": (out_of_memory, r"^out of memory: DefaultCPUAllocator: .*\(test_failures\.py:\d+\)$"),
    "a bug": (broken, r"^KeyError: 'a step' \(test_failures\.py:\d+\)$"),
}


@pytest.mark.parametrize(("breaks", "said"), BREAKS.values(), ids=BREAKS)
def test_what_breaks_in_the_making_is_the_recipes(breaks: Callable[[], Any], said: str) -> None:
    with pytest.raises(Failed, match=said), of_recipe():
        breaks()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RecipeError(("prune",), "it cannot be"), Failed),
        (Diverged("the loss was nan"), Diverged),
        (AutopruneError("a file is damaged"), AutopruneError),
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
    ],
)
def test_what_others_have_to_mend_is_not_the_recipes(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=str(error).replace("[", r"\[")) as raised, of_recipe():
        raise error
    assert type(raised.value) is kind


def test_errors_of_the_system_go_through_a_pipe_and_are_said_in_a_line(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x")))
    assert reason_of(error) == "No space left on device: 'runs/x'"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").symlink_to(tmp_path / "nothing")
    with pytest.raises(shutil.Error) as many:
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert reason_of(many.value).startswith("[Errno 2] No such file or directory")
