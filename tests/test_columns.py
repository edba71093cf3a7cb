"""Which column is what: named, usual, or plain by its looks; what is not plain is asked for, with the first row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from autoprune.errors import AutopruneError
from autoprune.recommender.data.columns import Columns
from autoprune.recommender.data.log import Log, read_log


def read(folder: Path, content: str, **settings: object) -> Log:
    (folder / "a.csv").write_text(content)
    return read_log(folder / "a.csv", **settings)  # type: ignore[arg-type]


def pairs(log: Log) -> list[tuple[object, object]]:
    return [(log.users[user], log.items[item]) for user, item in zip(log.user, log.item, strict=True)]


NOT_PLAIN = {
    "words": "A2CX,0321,5.0,1341100800\nA2NW,0439,1.0,1367193600\n",  # Amazon's also come as item, user
    "words alone, some twice": "ann,dune\nbob,dune\n",
    "five columns": "1,7,3,4,1600081904\n1,9,3,5,1600081904\n",
    "a text": "15::4973::funny!::1215184630\n20::1747::sad::1188263867\n",
    "a running number": "0,196,242\n1,186,302\n2,196,377\n",
    "time in front": "1600081904,1,7\n1600081905,1,9\n1600081906,2,9\n",
    "time in the middle": "1,2020-01-01,7\n1,2020-01-02,9\n",
    "two times": "1,7,1600081904,2020-01-01\n1,9,1600081904,2020-01-01\n",
    "two numbers": "1,7,3,4\n1,9,3,5\n",
    "fractions for ids": "1.5,7\n2.5,9\n",
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_columns_that_are_not_plain_are_asked_for(kind: str, tmp_path: Path) -> None:
    content = NOT_PLAIN[kind]
    with pytest.raises(AutopruneError, match="the first row is data, so the columns have no names") as caught:
        read(tmp_path, content)
    first = content.splitlines()[0].replace("::", ",").replace(",", ", ")
    assert str(caught.value).endswith(
        f"task.data.columns.item=1, and those of timestamp and rating if there are any. The first row is: {first}."
    )
    log = read(tmp_path, content, columns=Columns(user="0", item="1"))
    assert len(log.user) == len(content.splitlines())


AMBIGUOUS = {
    "words": "ann,dune\nbob,emma\n",
    "words, one of them usual": "ann,book\nbob,game\n",
    "numbers in order": "0,1,2\n5,7,3\n6,8,4\n",
    "usual words and a number": "user,item,2020\na,b,3\n",
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_first_row_that_may_be_names_or_data_is_asked_about(kind: str, tmp_path: Path) -> None:
    content, given = AMBIGUOUS[kind], Columns(user="0", item="1")
    first = content.splitlines()[0].replace(",", ", ")
    with pytest.raises(
        AutopruneError, match=rf"is the first row names or data\? It is: {first}\. Say which: task\.data\.h"
    ):
        read(tmp_path, content, columns=given)
    rows = len(content.splitlines())
    assert len(read(tmp_path, content, columns=given, header=False).user) == rows
    assert len(read(tmp_path, content, columns=given, header=True).user) == rows - 1


NAMES = {
    "usual": ("user,item\na,b\n", Columns()),
    "two usual among others": ("UserID;Book-Rating;isbn\na;1;b\n", Columns()),
    "asked for": ("wer,was\na,b\n", Columns(user="wer", item="was")),
    "above numbers": ("wer,was,n\na,b,3\n", Columns(user="0", item="1")),
    "above numbers, twice": ("wer,was,n\na,b,3\nwer,was,n\n", Columns(user="0", item="1")),
    "above dates": ("wer,was,n\na,b,2020-01-01\n", Columns(user="0", item="1")),
    "mixed ways": ("wer,was,n\na,b,3\n", Columns(user="wer", item="1")),
    "pandas' index and numbers": (",0,1\n0,a,b\n", Columns(user="0", item="1")),
    "typed": ("wer:token\twas:token\na\tb\n", Columns(user="wer:token", item="was:token")),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_told_from_data(kind: str, tmp_path: Path) -> None:
    content, columns = NAMES[kind]
    assert pairs(read(tmp_path, content, columns=columns)) == [("a", "b")]


def test_positions_count_from_0_and_a_name_goes_first(tmp_path: Path) -> None:
    content = "1,0,user,item\na,b,c,d\n"
    assert pairs(read(tmp_path, content, columns=Columns(user="2", item="3"), header=True)) == [("c", "d")]
    assert pairs(read(tmp_path, content, columns=Columns(user="0", item="1"), header=True)) == [("b", "a")]
    with pytest.raises(AutopruneError, match=r"columns\.item: .* has 3 columns, at positions 0 to 2, but got 3\."):
        read(tmp_path, "1,2,3\n4,5,6\n", columns=Columns(user="0", item="3"))
    nameless = r"columns\.user: .* has no column names \(its first row is 1, 2, 3\), .* got 'who'"
    with pytest.raises(AutopruneError, match=nameless):
        read(tmp_path, "1,2,3\n4,5,6\n", columns=Columns(user="who"))
    unclear = r"which column is the item\? The columns have no names.*item=POSITION.*: 1, 2, 3\."
    with pytest.raises(AutopruneError, match=unclear):
        read(tmp_path, "1,2,3\n4,5,6\n", columns=Columns(user="0"))
    with pytest.raises(AutopruneError, match=r"which column is the rating\? The columns have no names"):
        read(tmp_path, "1,2\n4,5\n", min_rating=3)


def test_names_that_stand_twice_are_given_by_position(tmp_path: Path) -> None:
    content = "user,user,item\na,b,c\n"
    with pytest.raises(AutopruneError, match=r"user and user may each be the user; .*: task\.data\.columns\.user=0"):
        read(tmp_path, content)
    with pytest.raises(AutopruneError, match=r"has 2 columns 'user'; give the position of one, counted from 0: 0 or 1"):
        read(tmp_path, content, columns=Columns(user="user"))
    assert pairs(read(tmp_path, content, columns=Columns(user="1"))) == [("b", "c")]


@pytest.mark.parametrize("rating", ["4", "4.0", "+4", '"4,0"', "4e0"])
def test_ratings_are_numbers_in_any_writing(rating: str, tmp_path: Path) -> None:
    content = f"user,item,rating\na,b,{rating}\nc,d,3.9\n"
    assert pairs(read(tmp_path, content, min_rating=4)) == [("a", "b")]


TIMES = {
    "dates": ["2026-05-31", "2026-06-01"],
    "short dates": ["2026-5-31", "2026-6-1"],
    "slashes": ["2026/05/31", "2026/06/01"],
    "moments": ["2026-05-31T12:00:00Z", "2026-05-31 12:00:00+02:00"],
    "months": ["2026-05", "2026-06"],
    "digits": ["20260531", "20260601"],
    "digits of months": ["202605", "202606"],
    "digits of minutes": ["202605311200", "202606010000"],
    "digits of seconds": ["20260531120059", "20260601000000"],
    "digits in ISO 8601": ["20260531T120059Z", "20260601T000000Z"],
    "seconds": ["1600081904", "1600081905"],
    "seconds with a point": ["1600081904.5", "1.600081905e9"],
    "milliseconds": ["1600081904000", "1600081905000"],
    "microseconds": ["1600081904000000", "1600081905000000"],
    "nanoseconds": ["1600081904000000000", "1600081905000000000"],
    "never": ["1600081904", "0", "-1"],
    "a spreadsheet's": ["41030.5", "41031.25"],
    "days first": ["31/12/2025", "01/01/2026"],
    "months first": ["12/31/25", "1/1/26"],
    "points": ["31.12.2025", "01.01.2026"],
    "American": ["May 31, 2026", "Jun 1, 2026"],
    "of a mail": ["Sun, 31 May 2026 12:00:00 +0000", "Mon, 1 Jun 2026 12:00:00 +0000"],
    "of a computer": ["Sun May 31 12:00:00 2026", "Mon Jun 01 12:00:00 2026"],
    "of a tweet": ["Sun May 31 12:00:00 +0000 2026", "Mon Jun 01 12:00:00 +0000 2026"],
    "of a bank": ["31-May-2026", "01-Jun-2026"],
    "month and year": ["May-2026", "Jun-2026"],
    "year first": ["2026 May 31", "2026 June 01"],
    "in UTC": ["2026-05-31 12:00:00 UTC", "2026-06-01 12:00:00 UTC"],
    "of a clock": ["2026-05-31 11:00 PM", "2026-06-01 1:00 AM"],
}

OTHER_TIMES = {
    "with gaps": ["1600081904", ""],
    "with NULL": ["2026-05-31", "NULL"],
    "with NA": ["1600081904", "NA"],
    "of MySQL": ["1600081904", r"\N"],
    "with no date": ["2026-05-31", "0000-00-00"],
    "days or months first": ["01/02/2026", "02/01/2026"],
    "a few others": [*["2026-05-31"] * 19, "soon"],
    "weeks": ["2026-W22", "2026-W23"],
    "quarters": ["2026-Q1", "2026-Q2"],
    "of .NET": ["/Date(1335830400000)/", "/Date(1335830400001)/"],
}

NO_TIMES = {
    "ratings": ["3", "4.5"],
    "counts": ["13883", "2"],
    "years": ["1999", "2020"],
    "prices": ["2019.50", "3.99"],
    "ids": ["0321732944", "12"],
    "words": ["may", "mayor"],
    "titles": ["March of the Penguins", "12 Angry Men"],
    "versions": ["1.2.3", "10.0.1"],
    "nothing": ["", ""],
}


UNUSED = "column 'purchase day' looks like times and is not used"


NONE = "no column of times is used: the split is at random"


def bought(words: list[str]) -> str:
    return "user|item|purchase day\n" + "".join(f"{row}|7|{word}\n" for row, word in enumerate(words))


@pytest.mark.parametrize("kind", TIMES)
def test_a_time_that_is_not_used_is_named_with_what_would_use_it(kind: str, tmp_path: Path) -> None:
    content = bought(TIMES[kind])
    assert read(tmp_path, content).notes == (
        f"{UNUSED} ('task.data.columns.timestamp=purchase day' uses it)",
        f"{NONE}; columns not used: purchase day",
    )
    time = read(tmp_path, content, columns=Columns(timestamp="purchase day")).time
    assert time is not None
    assert kind in ("moments", "never") or time[0] < time[1]
    assert read(tmp_path, content, columns=Columns(user="0", item="1")).notes == read(tmp_path, content).notes
    assert read(tmp_path, content, timed=False).notes == ()
    with pytest.raises(AutopruneError, match=r"which column is the timestamp\? .* 'purchase day' looks like times\."):
        read(tmp_path, content, timed=True)


@pytest.mark.parametrize("kind", OTHER_TIMES)
def test_a_time_that_cannot_be_used_is_named_with_what_it_takes(kind: str, tmp_path: Path) -> None:
    content = bought(OTHER_TIMES[kind])
    override = "'task.data.columns.timestamp=purchase day'"
    assert read(tmp_path, content).notes == (
        f"{UNUSED} (for {override} every row must hold a number or an ISO 8601 date)",
        f"{NONE}; columns not used: purchase day",
    )
    why = r"row \d+ holds .*\. Write it so|holds no time in 1 of 2 rows.* row 2 \(.* out|may be (day|month) .* year or "
    with pytest.raises(AutopruneError, match=rf"({why}).*: task\.data\.split=random\."):
        read(tmp_path, content, columns=Columns(timestamp="purchase day"))


@pytest.mark.parametrize("kind", NO_TIMES)
def test_what_is_no_time_is_not_named(kind: str, tmp_path: Path) -> None:
    content = "user|item|x\n" + "".join(f"{row}|7|{word}\n" for row, word in enumerate(NO_TIMES[kind]))
    assert read(tmp_path, content).notes == (f"{NONE}; columns not used: x",)


MOMENTS = {
    "13/03/2012": "2012-03-13T00:00:00Z",
    "3/13/12": "2012-03-13T00:00:00Z",
    "13.03.2012, 10:05": "2012-03-13T10:05:00Z",
    "Tue Apr 03 18:00:09 +0000 2012": "2012-04-03T18:00:09Z",
    "2012-05-13 10:00:00 UTC": "2012-05-13T10:00:00Z",
    "2012-05-13 10:00:00.25 GMT": "2012-05-13T10:00:00.25Z",
    "05/13/2012 10:00 PM": "2012-05-13T22:00:00Z",
    "September 3, 2012 10:00:01 pm": "2012-09-03T22:00:01Z",
    "Sun, 13 May 2012 10:00:00 +0200": "2012-05-13T08:00:00Z",
}


@pytest.mark.parametrize("written", MOMENTS)
def test_dates_that_read_in_one_way_are_read_so(written: str, tmp_path: Path) -> None:
    log = read(tmp_path, f"user;item;time\n1;7;{written}\n1;8;{written}\n")
    assert log.time is not None
    assert log.time.tolist() == pytest.approx([pd.Timestamp(MOMENTS[written]).timestamp()] * 2, abs=1e-3, rel=0)
    assert log.notes == ()


STRANGE = {
    "inf": r"'time': a number or an ISO 8601 date is expected, but row 2 holds 'inf'",
    "1600081904000": r"'time' holds 1 seconds and 1 milliseconds since 1970; write all in one unit, or do without",
    "0.0": None,
}


@pytest.mark.parametrize("word", STRANGE)
def test_times_of_several_units_or_without_end_are_refused(word: str, tmp_path: Path) -> None:
    content, message = f"user,item,time\n1,7,1600081904\n1,8,{word}\n", STRANGE[word]
    if message is None:
        assert read(tmp_path, content).notes == ("column 'time' is 0 or -1 in 1 of 2 rows, which come first",)
    else:
        with pytest.raises(AutopruneError, match=message):
            read(tmp_path, content)


def test_without_names_an_unused_time_is_given_by_position(tmp_path: Path) -> None:
    log = read(tmp_path, "ann,dune,5.0,1341100800\nbob,emma,1.0,1367193600\n", columns=Columns(user="0", item="1"))
    assert log.notes == (
        "column 3 looks like times and is not used (task.data.columns.timestamp=3 uses it)",
        f"{NONE}; columns not used: 2, 3",
    )
    assert read(tmp_path, "user,item,time,t_dat\na,b,1,2020-01-01\n").notes == ("columns not used: t_dat",)


@pytest.mark.parametrize("timed", [None, False])
def test_a_label_or_rating_that_is_not_used_is_named_whether_there_are_times_or_not(
    timed: bool | None, tmp_path: Path
) -> None:
    said = "every row counts, whatever its {} ({}task.data.min_rating=N leaves out those below N)"
    for name, override in {"label": "task.data.columns.rating=label ", "rating": ""}.items():
        content = f"user_id,item_id,{name},timestamp\n1,7,0,1600081904\n1,8,1,1600081905\n"
        expected = (f"columns not used: {name}", said.format(name, override))
        assert read(tmp_path, content, timed=timed).notes == expected
        columns = Columns(rating=name)
        assert read(tmp_path, content, timed=timed, min_rating=1, columns=columns).notes == ()
    (note, _) = read(tmp_path, "1,7,3,1600081904\n1,9,4,1600081905\n").notes
    assert note.endswith(f"; {said.format('rating', '')}")
