"""Every YAML composes, and what is wrong with a config is said with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import autoprune
from autoprune.config.compose import compose_config, compose_sections
from autoprune.config.sections import sections, structured
from autoprune.config.settings import StudyConfig
from autoprune.errors import AutopruneError
from autoprune.families import task_maker
from autoprune.fronts.profiles import load_profile
from autoprune.fronts.requirements import parse_requirements
from autoprune.recipes.space import MOST_CORNERS, Space
from autoprune.study.definition import check_no_idle_settings
from autoprune.study.job import run_study

CONF = Path(__file__).parent.parent / "conf"
GROUPS = [path.relative_to(CONF) for path in sorted(CONF.glob("*/*.yaml"))]


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_yaml_composes(path: Path) -> None:
    config = compose_config([f"{path.parent}={path.stem}"])
    assert set(config) == {"task", "space", "presets", "requirements", "study", "executor"}


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_yaml_says_what_it_is(path: Path) -> None:
    first = (CONF / path).read_text().splitlines()[0]
    assert first.startswith("# ") or path.parent.name == "study"


def test_packages_list_every_folder_of_conf() -> None:
    listed = (CONF.parent / "pyproject.toml").read_text()
    for folder in CONF.rglob("*/"):
        if list(folder.glob("*.yaml")):
            name = ".".join(["autoprune.conf", *folder.relative_to(CONF).parts])
            assert f'"{name}"' in listed


@pytest.mark.parametrize("path", [path for path in GROUPS if path.parent.name == "space"], ids=str)
def test_every_space_parses(path: Path) -> None:
    assert Space(yaml.safe_load((CONF / path).read_text())).domains


@pytest.mark.parametrize("path", [path for path in GROUPS if path.parent.name == "requirements"], ids=str)
def test_every_profile_parses(path: Path) -> None:
    assert parse_requirements(load_profile(path.stem)).prefer


def test_study_yaml_holds_the_defaults_of_its_schema() -> None:
    assert StudyConfig(**yaml.safe_load((CONF / "study/default.yaml").read_text())) == StudyConfig()


def test_task_yaml_holds_the_defaults_of_its_schema() -> None:
    from omegaconf import OmegaConf

    from autoprune.recommender.config import InteractionsConfig

    section = compose_config(["task=interactions"]).task
    assert (
        OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(InteractionsConfig), section)) == InteractionsConfig()
    )


BAD = {
    "task=interaction": r"task=interaction: .*Did you mean interactions",
    "requirements=accuracy": r"Did you mean accuracy_critical",
    "study.trails=3": r"study\.trails: there is no such entry\. Did you mean trials",
    "study.looks=-1": r"study\.looks: a whole number >= 0 .* -1",
    "study.workers=0": r"study\.workers: a whole number >= 1 .* 0",
    "study.trials=-1": r"study\.trials: a whole number >= 0 .* -1",
    "study.trials=many": r"study\.trials: .*many",
    "study.minutes=0": r"study\.minutes: more than 0",
    "study.sampler=randum": r"study\.sampler 'randum' is unknown. Did you mean random",
    "study.objectives=[size]": r"study\.objectives: quality and some of",
    "study.objectives=[quality,sise]": r"'sise' is unknown\. Did you mean size",
    "study.name=a/b": r"study\.name: a name consists of letters",
    "study.device=gpu": r"study\.device 'gpu' is unknown",
    "task.metric=ndgc@20": r"metric 'ndgc@20' is unknown\. Did you mean ndcg@20",
    "task.dim=0": r"task\.dim: 1 <= dim",
    "task.training.epochs=0": r"task\.training\.epochs >= 1",
    "task.data.path=/no/such/folder": r"task\.data\.path: there is no file or folder",
    "task.data.split=by_user": r"^task\.data\.split 'by_user' is unknown\. Did you mean per_user\?",
    "task.data.split=random": r"^task\.data\.split: .* is split by its files, but got 'random'",
    "task.data.min_rating=4": r"^task\.data: .* holds lines .* leave columns, header and min_rating out",
    "++task.data.columns.usr=x": r"^task\.data\.columns\.usr: there is no such entry\. Did you mean user",
    "++task.data.pth=x": r"task\.data\.pth: there is no such entry\. Did you mean path",
    "++task.name=films": r"task\.name 'films' is unknown",
    "++requirements.latncy_ms.max=4": r"requirements\.latncy_ms\.max: .*Did you mean latency_ms",
    "++requirements.latency_ms.min=4": r"requirements\.latency_ms\.min: .*less is better",
    "++requirements.quality.drop=200%": r"requirements\.quality\.drop: 0% <= drop < 100%",
    "++requirements.size_bytes.max=10Mb/s": r"requirements\.size_bytes\.max: .*10MB",
    "requirements.recall@20.min=2%%": r"requirements\.recall@20\.min: a limit such as",
    "requirements.latency_ms.batch.max=fast": r"requirements\.latency_ms\.batch\.max: a limit such as",
    "requirements.ndcg@20.tial.drop=2%": r"Did you mean ndcg@20\.tail",
    "requirements=[1]": r"the value must name a file",
    "study.seed=-1": r"study\.seed: a whole number >= 0",
    "study.minutes=nan": r"study\.minutes: more than 0",
    "study.latency_seconds=inf": r"study\.latency_seconds: more than 0",
    "study.device=meta": r"study\.device 'meta' is unknown",
    "task.data.seed=-1": r"task\.data\.seed: a whole number >= 0",
    "task.training.learning_rate=nan": r"task\.training\.learning_rate: 0 < rate <= 1",
    "+presets.mine={quantize:{bits:{any_of:[8,4]}}}": r"mine\.quantize\.bits: a preset must not have open values",
    "space.prune.method={dims:{sparsity:0.5}}": r"its value refers to something missing",
    "requirements.prefer=speed": r"requirements\.prefer 'speed' is unknown",
    "requirements.prefer=index": r"requirements\.prefer: index is not available: .* no vectors that are stored",
    "presets.int4=4": r"presets\.int4: a recipe is a mapping of stages, but got 4",
    "space.prune.method.choose.dims.sparsity.float=[0.5,1.0]": r"choose\.dims\.sparsity: 0 <= sparsity < 1 .* 1\.0",
    "space.prune.method.choose.dims.sparsity.float=[0.9,0.5]": r"choose\.dims\.sparsity\.float: low <= high",
    "++space.prune.method.choose.limbs.sparsity=0.5": r"choose\.limbs: method 'limbs' is unknown",
    "++space.prune.method.choose.heads.sparsity=0.5": r"choose\.heads: the model has no heads. It has: dim, rows",
    "++space.runtime=onnx": r"space\.runtime: the task has no runtime 'onnx'.* torch",
    "++space.prune.method.choose.magnitude={sparsity:0.9,min_per_row:13}": r"magnitude\.sparsity: sparsity <= 0\.\d+",
    "space.prune.epochs=-1": r"space\.prune\.epochs: a whole number >= 0",
    "space.prune.schedule=cubik": r"space\.prune\.schedule: schedule 'cubik' is unknown. Did you mean cubic",
    "space.encode.method.choose.quantize.bits.item=7": r"choose\.quantize\.bits\.item: one of 32, 8, 4, 3, 2, 1",
    "++space.encode.method.choose.product={width:2,entries:256}": r"entries: a codebook of 256 entries is larger",
    "++space.tune.epochs=3": r"space\.tune\.epochs: nothing can be trained after",
    "++space.base.width=3": r"space\.base\.width: the task's model has no such setting\. .*dim",
    "++presets.mine={quantize:{bits:5}}": r"presets\.mine\.quantize\.bits: one of 32, 8, 4",
    "++presets.mine={prune:{method:{dims:{sparsity:0.999}}}}": r"presets\.mine.*at least one dimension must stay",
    "task.data.columns.rating=stars": r"^task\.data\.columns\.rating: ratings are read for task\.data\.min_rating",
}


# Each composes a config and reads data: the fast suite takes one of three.
@pytest.mark.parametrize(
    "override", [pytest.param(bad, marks=[pytest.mark.slow] if at % 3 else []) for at, bad in enumerate(BAD)]
)
def test_bad_input_is_refused_before_anything_is_written(override: str, planted: Path, tmp_path: Path) -> None:
    words = [
        "task=interactions",
        f"task.data.path={planted}",
        "task.dim=16",
        f"study.dir={tmp_path / 'runs'}",
        *(["~space.prune", "~space.encode"] if "space" not in override else []),  # corners that would only take time
    ]
    with pytest.raises(AutopruneError, match=BAD[override]):
        autoprune.search(*words, override)
    assert not (tmp_path / "runs").exists()


def test_requirements_that_hydra_cannot_parse_are_taken() -> None:
    words = ["requirements.recall@20.min=0.1", "requirements.ndcg@20.tail.drop=9%", "requirements.size_bytes.max=1MB"]
    config = compose_config(["requirements=none", *words, "presets.mine={quantize:{bits:8}}"])
    found = {item.text for item in parse_requirements(config.requirements).items}
    assert found == {"recall@20 >= 0.1", "ndcg@20.tail >= 0.91x", "size_bytes <= 1000000"}
    assert config.presets.mine.quantize.bits == 8


def test_a_limit_of_null_is_no_requirement_of_that_name() -> None:
    config = compose_config(["requirements=accuracy_critical", "requirements.quality.confidence=null"])
    assert config.requirements.quality.confidence is None
    assert "quality.confidence" not in config.requirements


@pytest.mark.parametrize("metric", ["ndcg@10", "ndcg@20.tail"])
def test_a_metric_that_hydra_cannot_parse_is_left_out_with_null(metric: str) -> None:
    config = compose_config([f"requirements.{metric}.drop=2%", f"requirements.{metric}=null"])
    assert config.requirements[metric] is None
    assert not any(metric in item.text for item in parse_requirements(config.requirements).items)
    with pytest.raises(AutopruneError):
        compose_config([f"requirements.{metric}=2%"])


def test_every_corner_of_the_shipped_space_can_be_built(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.recipes.space.MOST_CORNERS", MOST_CORNERS)
    monkeypatch.setattr("autoprune.recipes.space.DRAWN_CORNERS", 200)
    overrides = ["task=interactions", f"task.data.path={planted}", f"study.dir={tmp_path}", "study.name=..bad"]
    with pytest.raises(AutopruneError, match=r"study\.name"):  # what is checked after the corners
        run_study(sections(compose_config(overrides)), overrides)


TYPES: list[tuple[dict[str, Any], str]] = [
    ({"model": {"x": 1}}, r"^task\.model: a text must be given, but got {'x': 1}\.$"),
    (
        {"data": {"documents": 1e3}},
        r"^task\.data\.documents: a whole number or a text must be given, but got 1000\.0\.$",
    ),
    ({"data": {"documents": True}}, r"^task\.data\.documents: a whole number or a text must be given, but got True\.$"),
    ({"data": {"documents": [1]}}, r"^task\.data\.documents: a whole number or a text must be given, but got \[1\]\.$"),
    ({"data": {"scale": ["a", 1]}}, r"^task\.data\.scale\.0: a number must be given, but got 'a'\.$"),
    ({"data": {"scale": 3}}, r"^task\.data\.scale: a list of numbers must be given, but got 3\.$"),
    ({"data": {"scale": {"a": 1}}}, r"^task\.data\.scale: a list of numbers must be given, but got {'a': 1}\.$"),
    ({"seed": "abc"}, r"^task\.seed: a whole number must be given, but got 'abc'\.$"),
    ({"seed": 1.5}, r"^task\.seed: a whole number must be given, but got 1\.5\.$"),
    ({"seed": None}, r"^task\.seed: a whole number must be given, but got None\.$"),
    ({"training": {"learning_rate": "x"}}, r"^task\.training\.learning_rate: a number must be given, but got 'x'\.$"),
    ({"training": {"decay": "x"}}, r"^task\.training\.decay: true or false must be given, but got 'x'\.$"),
]


@pytest.mark.parametrize(("section", "said"), TYPES, ids=str)
def test_what_an_entry_takes_is_said_with_what_it_got(section: dict[str, Any], said: str) -> None:
    with pytest.raises(AutopruneError, match=said):
        structured(task_maker("encoder").config, section, "task")


NOT_COMPOSED = {
    "++task.data=[1]": r"^\+\+task\.data=\[1\]: the entry is of another kind",
    "~task.model=foo": r"^~task\.model: it is null already",
    "~task.seed=4": r"^~task\.seed: its value is 0, .* ~task\.seed removes it whatever its value is\.$",
    "~task.seeed": r"^~task\.seeed: there is no such entry\. Did you mean seed\?",
    "~": r"^'~': ~ must be followed by the key to remove",
    "~nosuch": r"^~nosuch: there is no such entry\. Available: executor, presets",
    "+task.seed=4": r"^\+task\.seed: the entry exists already; task\.seed=… sets it\.$",
    "++study=3": r"^'\+\+study=3': the file of a section is chosen without \+\+\.$",
    "task.metric=${oc.env:NOSUCH}": r"^task\.metric: \"Environment variable 'NOSUCH' not found\"; to write a literal",
}


@pytest.mark.slow
@pytest.mark.parametrize("override", NOT_COMPOSED)
def test_what_cannot_be_composed_is_said_in_our_words(override: str) -> None:
    with pytest.raises(AutopruneError, match=NOT_COMPOSED[override]):
        compose_sections(["task=encoder", override])


TOLD = {
    ("task=encoder", "task.max_seq_length=128"): r"^task\.max_seq_length: there is no such entry\. .*texts_per_epoch",
    ("task=stsb", "task.data.pathh=x"): r"^task\.data\.pathh: .*Did you mean path\?",
    ("space=encoder", "space.encod.epochs=1"): r"^space\.encod: .*Did you mean encode\?|^space\.encod\.epochs: .*",
    ("presets=encoder", "~presets.half_dims"): r"half_dims",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", TOLD, ids=" ".join)
def test_an_unknown_key_is_told_from_those_of_the_chosen_files(words: tuple[str, ...]) -> None:
    with pytest.raises(AutopruneError, match=TOLD[words]) as found:
        compose_config(words)
    assert "fold_in" not in str(found.value)


@pytest.mark.slow
def test_an_unknown_key_is_told_from_those_of_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "ours.yaml").write_text("defaults: [interactions, _self_]\nown_entry: 3\n")
    with pytest.raises(AutopruneError, match="own_entry"):
        compose_config([f"hydra.searchpath=[{tmp_path}]", "task=ours", "task.own_entri=4"])
    assert (
        compose_config([f"hydra.searchpath=[{tmp_path}]", "task=ours", "task.data.path=a b (é).csv"]).task.own_entry
        == 3
    )
    (tmp_path / "task" / "ours.yaml").write_text("a: [b\n")
    with pytest.raises(AutopruneError, match=r"a config file is not valid YAML: .*ours\.yaml"):
        compose_config([f"hydra.searchpath=[{tmp_path}]", "task=ours"])


@pytest.mark.parametrize("name", ["x" * 151, "é" * 100, "a/b", "..", "-x", "a b", "CON", "nul.txt", "x\0", ""])
def test_a_study_is_named_as_a_folder_can_be(name: str) -> None:
    from autoprune.study.definition import check_name

    with pytest.raises(AutopruneError, match=r"study\.name: "):
        check_name(name)


BROUGHT = {"name": "interactions", "model": {"path": "m"}}


@pytest.mark.parametrize(
    ("section", "typed", "said"),
    [
        (BROUGHT | {"dim": 64}, "dim", ": it is for models that are trained here, .* but got 64; leave it out"),
        (BROUGHT | {"temperature": 0.2}, "", "temperature: it is for models that are trained here"),
        (
            BROUGHT | {"training": {"tuning_rate": 0.1}},
            "training.learning_rate",
            ".* whose rate is task.training.tuning",
        ),
        (BROUGHT | {"fold_in": {"steps": 3}}, "", "fold_in.steps: it is for models that are trained here"),
        ({"name": "movielens", "fold_in": {"alpha": 1.0}}, "fold_in.steps", ": task.fold_in.alpha serves by a ridge"),
        (
            {"name": "encoder", "data": {"pairs": "lee", "scale": [0, 5]}},
            "",
            "data.scale: it is of pairs of your own",
        ),
        ({"name": "reranker"}, "training.patience", ": it ends the training of a dense model"),
        ({"name": "words", "ids": "words.txt"}, "", "ids: it is of task.vectors, which is not given"),
    ],
)
def test_what_would_be_without_effect_is_refused(section: dict[str, Any], typed: str, said: str) -> None:
    with pytest.raises(AutopruneError, match=rf"^task\.{typed}{said}"):
        check_no_idle_settings(section, [f"task.{typed}=0"] if typed else [])
