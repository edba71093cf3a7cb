"""Values of overrides: whatever a text holds, it is read back as it was given, typed as well as from Python."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.config.arguments import Kind, check_flags, overridden, readable
from autoprune.config.compose import compose_sections
from autoprune.errors import AutopruneError
from autoprune.overrides import several, written

NAMES = [
    "données.csv",
    "日本.csv",
    "o'neil.csv",
    'say "hi".csv',
    'it\'s [a] "b".csv',
    "~/r.csv",
    "my ratings (1).csv",
    "x=y.csv",
    "r[1].csv",
    "a,b.csv",
    "x,",
    "{x}.csv",
    "$HOME/r.csv",
    "#1.csv",
    "!@#$%^&*().csv",
    r"C:\data\r.csv",
    "a:b.csv",
    "trailing.csv ",
    " leading.csv",
    "tab\tbed.csv",
    "${x",
    "[x",
    "'",
    "'a'b'",
    "true",
    "1e5",
    "007",
    "1_000",
    "nan",
    "choice(a,b)",
    "glob(*)",
    "größe",
]
"""As files are called, and as other things look in Hydra's grammar."""

QUOTED = {"'a, b.csv'": "a, b.csv", r"my\ ratings\ \(1\).csv": "my ratings (1).csv", '"x=y"': "x=y", "null": None}
"""What people have quoted or escaped for Hydra."""

ODD = st.text(st.sampled_from(list("ab01.'\"\\/ ,:={}[]()$#~é\n\t-+%")), max_size=10)


def path_of(*words: str) -> Any:
    return compose_sections(["task=interactions", *words])["task"]["data"]["path"]


def read(typed: str, kind: Kind, *, many: bool = False) -> Any:
    """What is read of a value that is typed, by itself."""
    return _interpreted(overridden([readable(f"key={typed}", lambda key: kind, many=many)], "key"))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_is_typed(name: str) -> None:
    assert read(name, Kind.TEXT) == name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_composed_as_it_is_typed(name: str) -> None:
    assert path_of(f"task.data.path={name}") == name


@pytest.mark.parametrize("name", ["o'neil (1),é=[c]{d}.csv"])
def test_a_name_is_read_as_it_is_typed_in_every_text(name: str) -> None:
    words = [f"task.data.path={name}", f"task.data.columns.user={name}", f"study.dir={name}", f"study.name={name}"]
    content = compose_sections(["task=interactions", *words])
    data, study = content["task"]["data"], content["study"]
    assert [data["path"], data["columns"]["user"], study["dir"], study["name"]] == [name] * 4


@pytest.mark.parametrize("typed", QUOTED)
def test_what_is_quoted_for_hydra_is_read_as_hydra_reads_it(typed: str) -> None:
    assert read(typed, Kind.TEXT) == QUOTED[typed]


@pytest.mark.slow
def test_a_variable_of_the_environment_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/srv/o'neil")
    assert path_of("task.data.path=${oc.env:DATA}/größe.csv") == "/srv/o'neil/größe.csv"
    with pytest.raises(AutopruneError, match=r"^task\.data\.path: .*'x' not found; to write a literal \$\{"):
        path_of("task.data.path=${x}.csv")
    assert path_of(r"task.data.path=\${x}.csv") == "${x}.csv"


@settings(max_examples=50, deadline=None)
@given(ODD)
def test_whatever_is_written_is_read_back(text: str) -> None:
    for value in (text, [text, "b"], {"key": text}):
        read = overridden([f"task.texts={written(value)}"], "task.texts")
        plain = _interpreted(read)
        assert plain == value


def _interpreted(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)["value"]  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (1e-7, "1e-07"),
        ("plain", "plain"),
        (Path("/a b"), "'/a b'"),
        ([1, "x,y"], "[1,'x,y']"),
        ({"a": {"b c": None}}, r"{a:{b\ c:null}}"),
    ],
)
def test_values_from_python_are_written(value: Any, text: str) -> None:
    assert written(value) == text


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(AutopruneError, match=r"a value of an override is .*, but got object"):
        written(object())


SEVERAL = {
    "a.txt,b.txt": ["a.txt", "b.txt"],
    "[a.txt,b.txt]": ["a.txt", "b.txt"],
    "my a.txt , größe (1).txt": ["my a.txt", "größe (1).txt"],
    "['a,b.txt',c.txt]": ["a,b.txt", "c.txt"],
    "'a,b.txt',c.txt": ["a,b.txt", "c.txt"],
    "[my (1).txt,b.txt]": ["my (1).txt", "b.txt"],
    "a.txt,,b.txt,": ["a.txt", "b.txt"],
}


@pytest.mark.parametrize("typed", SEVERAL)
def test_several_texts_are_read_with_and_without_brackets(typed: str) -> None:
    assert read(typed, Kind.TEXTS) == SEVERAL[typed]


@pytest.mark.slow
def test_every_key_that_takes_several_reads_commas() -> None:
    words = ["study.objectives=quality,size", "task.metrics=ndcg@20,recall@5"]
    content = compose_sections([*words, "space.prune.method.choose.dims.sparsity.float=0.5,0.6"])
    assert content["study"]["objectives"] == ["quality", "size"]
    assert content["task"]["metrics"] == ["ndcg@20", "recall@5"]
    assert content["space"]["prune"]["method"]["choose"]["dims"]["sparsity"]["float"] == [0.5, 0.6]
    assert compose_sections(["task=encoder", "task.data.scale=0,5"])["task"]["data"]["scale"] == [0, 5]


def test_under_multirun_commas_part_searches() -> None:
    assert readable("key=a b,é", lambda key: Kind.TEXT, many=True) == "key=a b,'é'"
    assert readable("key=1,2", lambda key: Kind.ONE, many=True) == "key=1,2"


@pytest.mark.slow
@pytest.mark.parametrize("word", ["study.seed=1,2", "task=movielens,stsb", "requirements.quality.drop=1%,2%"])
def test_several_values_of_what_takes_one_need_multirun(word: str) -> None:
    with pytest.raises(AutopruneError, match=r"only one value is allowed; .* add --multirun"):
        compose_sections([word])


def test_texts_between_commas_keep_their_quotes_and_lose_space() -> None:
    assert several(" a , 'b, c' ,d\\, e,, o'neil") == ["a", "'b, c'", "d\\, e", "o'neil"]


def test_written_overrides_survive_a_shell() -> None:
    for name in NAMES:
        (word,) = shlex.split(shlex.join([f"task.data.path={written(name)}"]))
        assert _interpreted(overridden([word], "task.data.path")) == name, name
    assert os.fsencode(written(os.fsdecode(b"\xe9.csv"))) == b"'\xe9.csv'"


@pytest.mark.parametrize("flag", ["--config-name=foo", "--config-path=foo", "-cn=foo", "-cp=foo"])
def test_the_config_is_no_other_programs(flag: str) -> None:
    with pytest.raises(AutopruneError, match=r"^--config-name, --config-path: the main config cannot be replaced"):
        check_flags([flag])


@pytest.mark.parametrize(("value", "text"), [(np.bool_(True), "true"), (np.int64(3), "3"), (np.array(0.5), "0.5")])
def test_scalars_of_numpy_are_written_as_pythons(value: object, text: str) -> None:
    assert written(value) == text
