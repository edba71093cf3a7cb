"""Text of any encoding, separator, compression and habit gives the same rows; what is guessed is said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import AutopruneError
from autoprune.recommender.data.columns import Columns
from autoprune.recommender.data.log import Log, read_log

RANDOM = "no column of times is used: the split is at random"

ROWS = [(1, 7, 3, 1600081904), (1, 9, 5, 1600081900), (20, 7, 4, 1500081904), (3, 8, 1, 1600000000)]
NAMES = ["user", "item", "rating", "time"]


def table(separator: str, *, names: bool = True, end: str = "\n") -> str:
    lines = [NAMES, *ROWS] if names else list(ROWS)
    return "".join(separator.join(map(str, line)) + end for line in lines)


def read(path: Path, content: str | bytes, **settings: object) -> Log:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_log(path, **settings)  # type: ignore[arg-type]


def rows(log: Log) -> list[tuple[object, ...]]:
    times = [None] * len(log.user) if log.time is None else log.time.tolist()
    return [(log.users[u], log.items[i], t) for u, i, t in zip(log.user, log.item, times, strict=True)]


EXPECTED = [(user, item, float(time)) for user, item, _, time in ROWS]

NAMED = {
    "spaces": table(" "),
    "aligned": table("   "),
    "double colons": table("::"),
    "tabs": table("\t"),
    "semicolons": table(";"),
    "bars": table("|"),
    "commas": table(","),
    "commas and spaces": table(", "),
    "CRLF": table(",", end="\r\n"),
    "CR": table(",", end="\r"),
    "no last newline": table(",").rstrip(),
    "blank lines": "\n\n" + table(",", end="\n\n"),
    "quoted": '"user","item","rating","time"\n' + "".join(f'"{u}","{i}","{r}","{t}"\n' for u, i, r, t in ROWS),
    "quoted and spaced": '"user" "item" "rating" "time"\n' + table(" ", names=False).replace("20", '"20"'),
    "double bars": table("||"),
    "circumflexes": table("^"),
    "tildes": table(" ~ "),
    "Hive": table("\x01"),
    "unit separators": table("\x1f"),
    "spaces before and behind": table(" , "),
    "separators at the end": table(",").replace("\n", ",\n"),
    "separators at the end of rows": table(",", end=",,\n").replace("time,,", "time"),
    "the names again": table(",").replace("20,", "user,item,rating,time\n20,"),
    "a table of Markdown": "".join(f"| {line} |\n" for line in table(" | ").splitlines()).replace(
        "time |", "time |\n|:---|---:|---|---|"
    ),
    "a table of a database": "+---+---+---+---+\n"
    + table(" | ").replace("time", "time\n+---+---+---+---+")
    + "+---+---+---+---+\n",
    "Excel's separator": "sep=;\r\n" + table(";", end="\r\n"),
    "Excel's comma": "sep=,\n" + table(","),
    "Excel's odd one": '"sep=^"\n' + table("^"),
    "Excel's separator and a blank line": "sep=;\n\n" + table(";"),
    "BOM": "\ufeff" + table(","),
    "BOM and Excel's separator": "\ufeffsep=;\n" + table(";"),
    "UTF-16": table("\t").encode("utf-16"),
    "UTF-16, big-endian": "\ufeff".encode("utf-16-be") + table("\t").encode("utf-16-be"),
    "UTF-16 without a mark": table(",").encode("utf-16-le"),
    "UTF-32": table(",").encode("utf-32"),
    "comments": "# made by hand\n#\n% twice\n" + table(","),
    "names in a comment": "# exported\n# user\titem\trating\ttime\n" + table("\t", names=False),
    "gzip": gzip.compress(table(",").encode()),
    "bzip2": bz2.compress(table(",").encode()),
    "xz": lzma.compress(table("\t").encode()),
}

BARE = {
    "u.data": table("\t", names=False),
    "ratings.dat": table("::", names=False),
    "with BOM": "\ufeff" + table("::", names=False),
    "UTF-16": table("\t", names=False).encode("utf-16"),
    "spaces": table(" ", names=False),
    "commas": table(",", names=False),
    "half stars": table("::", names=False).replace("::3::", "::3.5::"),
    "KONECT": "% bip weighted\n% 4 3 3\n" + "".join(f"{u} {i} {r}\t{t}\n" for u, i, r, t in ROWS),
    "SNAP": "# Directed graph\n# Nodes: 6 Edges: 4\n" + table("\t", names=False),
    "MatrixMarket": "%%MatrixMarket matrix coordinate real general\n%\n20 9 4 4\n" + table(" ", names=False),
    "time before rating": "".join(f"{u}\t{i}\t{t}\t{r}\n" for u, i, r, t in ROWS),
    "no rating": "".join(f"{u},{i},{t}\n" for u, i, _, t in ROWS),
}


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a"])
def test_text_with_names_is_read_whatever_its_habits(kind: str, name: str, tmp_path: Path) -> None:
    assert rows(read(tmp_path / name, NAMED[kind])) == EXPECTED


@pytest.mark.parametrize("kind", BARE)
@pytest.mark.parametrize("name", ["u.data", "ratings.dat", "out.movielens", "train", "a.csv"])
def test_text_without_names_is_read_and_the_guess_is_said(kind: str, name: str, tmp_path: Path) -> None:
    log = read(tmp_path / name, BARE[kind])
    assert rows(log) == EXPECTED
    (note,) = [note for note in log.notes if "no names" in note]
    assert f"{name} has no names, its first row is taken as 1 = user, 7 = item, " in note
    assert "1600081904 = timestamp" in note


@pytest.mark.parametrize("word", ["NA", "N/A", "null", "NULL", "None", "nan", "NaN", "n/a", "<NA>", "#N/A", "-nan"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "::"])
def test_no_word_is_a_missing_id(word: str, separator: str, tmp_path: Path) -> None:
    content = f"user{separator}item\n{word}{separator}x\ny{separator}{word}\n"
    assert rows(read(tmp_path / "a.csv", content)) == [(word, "x", None), ("y", word, None)]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_windows_text_is_read_and_said(encoding: str, tmp_path: Path) -> None:
    log = read(tmp_path / "a.csv", "user;item\nJosé;Ærø\nZoë;7\n".encode(encoding))
    assert log.users.values.tolist() == ["José", "Zoë"]
    assert log.notes == ("a.csv is read as Windows-1252", RANDOM)


def test_windows_text_late_in_a_long_file_is_found(tmp_path: Path) -> None:
    content = "user,item\n" + "u,i\n" * 50_000 + "é,i\n"
    assert read(tmp_path / "a.csv", content.encode("cp1252")).users.values.tolist() == ["u", "é"]


UNREADABLE = {
    "damaged UTF-8": ("user,item\né,è\nü,\udcff\n", r"the text is not UTF-8: invalid start byte at byte 19; save it"),
    "neither": ("user,item\n\udc81,1\n", r"the text is not UTF-8: nor is it Windows-1252 at byte 10"),
    "binary": ("\x00\x01\x00\x00\x00\x00ab", r"is neither text nor parquet"),
    "JSON lines": ('{"user": 1, "item": 2}\n', r"this is JSON or XML; write it as a table"),
    "JSON": ('[\n{"user": 1}]\n', r"this is JSON or XML"),
    "XML": ("<log><row/></log>", r"this is JSON or XML"),
    "a page": ("<!DOCTYPE html>\n<html>", r"is a web page \(HTML\), perhaps instead of a download"),
    "a pointer": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        r"is a pointer of Git LFS",
    ),
    "a database": ("SQLite format 3\0\x10\0", r"is an SQLite database; export its table as CSV"),
    "Feather": ("ARROW1\0\0", r"is Feather \(Arrow\); write it as parquet"),
    "a tar": ("a.csv".ljust(257, "\0") + "ustar\0", r"is an archive of tar; unpack it"),
    "a title": (
        "My films\n" + table(";"),
        r"table seems to begin at 'user;item.* looks like a title: My films; take it out",
    ),
    "a title with a date": ("Of 2024-01-01\n\n" + table(","), r"what stands above looks like a title: Of 2024-01-01;"),
    "one column": ("user\na\nb\n", r"one column only, as no separator was found: commas, .* The first line is: user\."),
    "signs in some lines": ("user/item\na/b\n", r"one column only, as no separator was found"),
    "LightGCN": ("1 2 3\n2 5\n", r"lines of different lengths .* by naming the folder"),
    "nothing": ("", r"the file is empty"),
    "blank lines": ("\n \n\n", r"the file is empty"),
    "Excel's separator alone": ("sep=;\n", r"the file is empty"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_table_of_text_is_refused_in_one_message(kind: str, tmp_path: Path) -> None:
    content, message = UNREADABLE[kind]
    with pytest.raises(AutopruneError, match=message) as caught:
        read(tmp_path / "a.csv", content.encode(errors="surrogateescape"))
    assert "a.csv" in str(caught.value)


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "train.txt"])
def test_damaged_archives_are_refused_in_one_message(
    packed: Callable[[bytes], bytes], name: str, tmp_path: Path
) -> None:
    whole = packed(("user,item\n" + "".join(f"{number * 7919},{number}\n" for number in range(3000))).encode())
    middle = len(whole) // 2
    for damaged in (whole[:8], whole[:middle], whole[:middle] + b"\xff" * 40 + whole[middle + 40 :]):
        (tmp_path / name).write_bytes(damaged)
        (tmp_path / "test.txt").write_text("1 2\n")
        with pytest.raises(AutopruneError, match=rf"{name}|{tmp_path}"):
            read_log(tmp_path if name == "train.txt" else tmp_path / name)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(AutopruneError, match=r"b\.zip cannot be read: "):
        read_log(tmp_path / "b.zip")


def test_an_archive_of_one_file_is_read_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml/", "")
        archive.writestr("ml/u.data", BARE["u.data"])
        archive.writestr("__MACOSX/ml/._u.data", "x")
    assert rows(read_log(path)) == EXPECTED
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ml/README", "x")
    with pytest.raises(AutopruneError, match=r"holds 2 files \(ml/u\.data, ml/README\); unpack it and name one"):
        read_log(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("user.npy", "x")
    with pytest.raises(AutopruneError, match=r"holds arrays of NumPy \(\.npz\); write a table"):
        read_log(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
    with pytest.raises(AutopruneError, match="is an Excel workbook; save its table as CSV"):
        read_log(path)


@pytest.mark.parametrize("separator", ["\t", "::"])
def test_quote_marks_that_do_not_enclose_are_part_of_values(separator: str, tmp_path: Path) -> None:
    lines = [["user", "item", "name"], ["u", "a", '"Weird Al" Yankovic'], ["u", "b", '"unclosed'], ["v", "c", "x"]]
    log = read(tmp_path / "a.tsv", "\n".join(map(separator.join, lines)))
    assert rows(log) == [("u", "a", None), ("u", "b", None), ("v", "c", None)]
    assert log.notes == ("quote marks in a.tsv are part of the values", f"{RANDOM}; columns not used: name")


@pytest.mark.parametrize("separator", ["\t", "::", " "])
def test_quote_marks_that_enclose_are_none(separator: str, tmp_path: Path) -> None:
    log = read(tmp_path / "a.tsv", f'user{separator}item\n"a, b"{separator}"say ""hi"""\nc{separator}d"e"\n')
    assert rows(log) == [("a, b", 'say "hi"', None), ("c", 'd"e"', None)]
    assert log.notes == (RANDOM,)


def test_rows_that_are_none_are_counted(tmp_path: Path) -> None:
    log = read(
        tmp_path / "a.csv",
        "wer,was,n\n 1 ,7,5\nwer,was,n\n--,--,--\n2,8 ,5\nwer,was,n\n",
        columns=Columns(user="wer", item="was"),
    )
    assert rows(log) == [(1, 7, None), (2, 8, None)]
    assert log.notes[:2] == ("2 rows of a.csv skipped: the names again", "1 row of a.csv skipped: nothing but dashes")
    found = read(tmp_path / "a.csv", "user,item\n--,7\n-,--\nuser,8\n")
    assert rows(found) == [("--", "7", None), ("-", "--", None), ("user", "8", None)]


def test_values_may_hold_separators_and_newlines(tmp_path: Path) -> None:
    content = 'user,item,review\n"a, b",x;y,"good; very\ngood, indeed"\nc d,#1,"so | so"\n'
    assert rows(read(tmp_path / "a.csv", content)) == [("a, b", "x;y", None), ("c d", "#1", None)]


def test_a_row_longer_than_what_is_looked_at_is_read(tmp_path: Path) -> None:
    long = "x" * 100_000
    assert rows(read(tmp_path / "a.csv", f"user,item\n{long},1\n")) == [(long, 1, None)]


def test_comments_are_counted_and_hashtags_are_none(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", NAMED["comments"]).notes == (
        "3 lines of comments above a.csv skipped",
        "columns not used: rating",
        "every row counts, whatever its rating (task.data.min_rating=N leaves out those below N)",
    )
    tags = read(tmp_path / "b.csv", "#a,1\n#b,1\n#a,2\n", columns=Columns(user="0", item="1"))
    assert rows(tags) == [("#a", 1, None), ("#b", 1, None), ("#a", 2, None)]


@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_folder_of_txt_holds_lines_or_tables(mark: str, ending: str, tmp_path: Path) -> None:
    def both(train: str, test: str) -> list[tuple[object, ...]]:
        for name, content in (("train", train), ("test", test)):
            held = (mark + content).encode()
            (tmp_path / f"{name}.{ending}").write_bytes(gzip.compress(held) if ending == "txt.gz" else held)
        return sorted(rows(read_log(tmp_path)), key=str)

    lines = both("1 10 20\n2 10\n", "1 30\n2 20\n")
    assert lines == [(1, 10, None), (1, 20, None), (1, 30, None), (2, 10, None), (2, 20, None)]
    assert both("1 10\n1 20\n2 10\n", "1 30\n2 20\n") == lines
    assert both("1\t10\t5\n1\t20\t4\n2\t10\t1\n", "1\t30\t3\n2\t20\t3\n") == lines
    assert both("user,item\n1,10\n1,20\n2,10\n", "user,item\n1,30\n2,20\n") == lines


PIECES = [
    *("user", "item", "time", "1", "2.5", "é", "NA", "2020-01-01", "1600000000", "x" * 50, "9" * 25, "1e400", "nan"),
    *(
        '"',
        '""',
        "\t",
        ",",
        ";",
        "|",
        "::",
        " ",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "#",
        "%",
        "sep=;",
        "\ufeff",
        "\0",
        "'",
        "{",
        "<",
        "[",
    ),
]


@pytest.mark.slow
def test_any_bytes_are_read_or_refused_in_one_message(tmp_path: Path) -> None:
    draw = random.Random(0)
    settings: list[dict[str, Any]] = [
        {},
        {"columns": Columns(user="0", item="1")},
        {"columns": Columns(user="0", item="1", timestamp="2"), "header": False},
        {"header": True},
        {"min_rating": 2.0},
        {"timed": True},
    ]
    (tmp_path / "test.txt").write_text("1 2\n")
    refused: list[str] = []
    for _ in range(1000):
        if draw.random() < 0.5:
            separator, cells = draw.choice([",", "\t", "::", " "]), ["a", "1", "2", "1600000000", "", '"q"', "é", "x y"]
            width = draw.randint(1, 5)
            lines = [[draw.choice(cells) for _ in range(width)] for _ in range(draw.randint(1, 9))]
            content = "\n".join(map(separator.join, lines)).encode(draw.choice(["utf-8", "utf-16"]))
        else:
            content = "".join(draw.choices(PIECES, k=draw.randint(0, 60))).encode(draw.choice(["utf-8", "utf-16-le"]))
        if content and draw.random() < 0.3:
            at = draw.randrange(len(content))
            content = content[:at] + draw.randbytes(1) + content[at + 1 :]
        path = tmp_path / draw.choice(["a.csv", "a", "train.txt", "a.parquet"])
        path.write_bytes(content)
        try:
            read_log(tmp_path if path.name == "train.txt" else path, **draw.choice(settings))
        except AutopruneError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 990
    assert [message for message in refused if str(tmp_path) not in message or "\n" in message] == []
