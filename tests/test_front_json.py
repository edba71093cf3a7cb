"""A front for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from made_studies import make_kinds

from autoprune.fronts.front import Front
from autoprune.record.record import Record
from autoprune.views.front_json import front_json
from autoprune.views.plain import finite


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies, by name; not to be changed."""
    return make_kinds(tmp_path_factory.mktemp("runs"))


def test_json_holds_what_the_front_holds_and_is_valid(runs: Path) -> None:
    for name in ("verified", "raw", "none", "one", "long"):
        front = Front(Record(runs / name))
        facts = json.loads(json.dumps(front_json(front), allow_nan=False))
        assert [point["number"] for point in facts["points"]] == [point.number for point in front]
        assert (facts["explanation"] is None) == (len(front) > 0)
        for point, kept in zip(front, facts["points"], strict=True):
            for given, held in ((point.found, kept["search"]), (point.verified, kept["verified"])):
                assert set(given) == set(held)
                for label, reading in given.items():
                    ends = (held[label]["low"], held[label]["high"])
                    assert (held[label]["value"], held[label]["ratio"]) == (reading.value, reading.ratio)
                    assert ends == (reading.interval or (None, None))
    assert facts["machine"]["search"]["cpu"] == "made up"


def test_json_has_null_for_what_is_no_number(runs: Path) -> None:
    facts = front_json(Front(Record(runs / "raw")))
    assert facts["machine"]["verify"] is None
    assert finite({"a": [math.nan, 1.0, {"b": math.inf}]}) == {"a": [None, 1.0, {"b": None}]}
