"""The command line for tests: in this process, or as a user starts it."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune import cli

Ended = subprocess.CompletedProcess[str]


def started(folder: Path, *words: str) -> Ended:
    """`autoprune WORDS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "autoprune", *words], cwd=folder, capture_output=True, text=True, timeout=300
    )


def typed(folder: Path, *words: str) -> Ended:
    """`autoprune WORDS` in this process, which has imported all that it needs."""
    arguments, code, stdout, stderr = ["autoprune", *words], 0, io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", [*arguments])
        patch.setenv("HYDRA_FULL_ERROR", "1")  # is set by a search, and taken back here
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())
