"""How long a reading still takes is told by how far it is."""

from __future__ import annotations

import pytest

from autoprune.encoder import countdown
from autoprune.encoder.countdown import Countdown


def test_what_is_left_is_told_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = {"at": 0.0}
    monkeypatch.setattr(countdown.time, "monotonic", lambda: now["at"])
    one = Countdown("reading 10 texts", 1.0, said.append)
    for at, done in ((1.0, 0.1), (10.0, 0.25), (12.0, 0.5), (20.0, 0.8), (30.0, 1.0)):
        now["at"] = at
        one.reached(done)
    assert said == ["reading 10 texts: 25%, about 0:30 left", "reading 10 texts: 80%, about 0:05 left"]
