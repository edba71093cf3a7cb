from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoprune.errors import AutopruneError, RecipeError
from autoprune.recipes import space as space_module
from autoprune.recipes.domain import Domain, describe
from autoprune.recipes.space import MOST_CORNERS, Space


@pytest.fixture(scope="module", autouse=True)
def _all_corners() -> Iterator[None]:
    """Of spaces here every corner is made, unlike in studies of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_module, "MOST_CORNERS", MOST_CORNERS)
        yield


NAMES = st.sampled_from(["dim", "bits", "epochs", "none", "magnitude", "prune", "quantize"])
FIXED = st.one_of(st.integers(-5, 5), st.booleans(), st.sampled_from(["global", "table"]), st.just([1, 2]))


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["int", "float"]))
    low, more = draw(st.integers(1, 20)), draw(st.integers(0, 20))
    part = 1 if kind == "int" else 20
    tree: dict[str, Any] = {kind: [low / part if part > 1 else low, (low + more) / part if part > 1 else low + more]}
    extra = draw(st.sampled_from(["nothing", "step", "log"]))
    if extra == "step":
        step = draw(st.integers(1, 7))
        tree["step"] = step if kind == "int" else step / 20
    elif extra == "log":
        tree["log"] = True
    return tree


LISTS = st.lists(st.integers(0, 64), min_size=1, max_size=3, unique=True).map(lambda values: {"any_of": values})


def _grown(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    nodes = st.dictionaries(NAMES, children, min_size=1, max_size=3)
    options = st.dictionaries(NAMES, st.dictionaries(NAMES, children, max_size=2), min_size=1, max_size=3)
    return st.one_of(nodes, options.map(lambda named: {"choose": named}))


TREES = st.dictionaries(NAMES, st.recursive(st.one_of(FIXED, LISTS, ranges()), _grown, max_leaves=6), max_size=3)


def decided(draw: Any, domain: Domain) -> Any:
    """A value of the domain, found without asking the domain itself."""
    if domain.options:
        return draw(st.sampled_from(domain.options))
    if domain.step is not None:
        steps = draw(st.integers(0, round((domain.high - domain.low) / domain.step)))
        return domain.low + steps * domain.step
    if domain.kind == "int":
        return draw(st.integers(int(domain.low), int(domain.high)))
    return draw(st.floats(domain.low, domain.high))


def leaves(node: Any) -> list[Any]:
    return [leaf for child in node.values() for leaf in leaves(child)] if isinstance(node, dict) else [node]


@settings(deadline=None, max_examples=80)
@given(TREES, st.data())
def test_a_space_resolves_within_its_domains(tree: dict[str, Any], data: st.DataObject) -> None:
    space = Space(tree)
    asked: dict[str, Any] = {}

    def decide(domain: Domain) -> Any:
        assert domain.path not in asked, "asked twice"
        asked[domain.path] = decided(data.draw, domain)
        return asked[domain.path]

    recipe = space.resolve(decide)
    assert all(space.domains[path].holds(value) for path, value in asked.items())
    # nothing is left open, and what was decided stands in the recipe
    found = leaves(recipe)
    assert not any(isinstance(leaf, dict) for leaf in found)
    assert all(value in found for path, value in asked.items() if space.domains[path].kind != "choose")


@settings(deadline=None, max_examples=80)
@given(TREES, st.data())
def test_the_completion_of_a_whole_recipe_is_itself(tree: dict[str, Any], data: st.DataObject) -> None:
    space = Space(tree)
    asked: dict[str, Any] = {}

    def decide(domain: Domain) -> Any:
        asked[domain.path] = decided(data.draw, domain)
        return asked[domain.path]

    recipe = space.resolve(decide)
    assert list(space.completions(recipe)) == [(asked, recipe)]


@settings(deadline=None, max_examples=80)
@given(TREES)
def test_completions_of_nothing_are_the_corners(tree: dict[str, Any]) -> None:
    space = Space(tree)
    assume(space.count_corners() <= MOST_CORNERS)
    corners = list(space.corners())
    assert len(corners) == space.count_corners()
    completed = list(space.completions({}))
    assert [recipe for _, recipe in completed] == corners
    for parameters, recipe in completed:
        assert space.resolve(lambda domain: parameters[domain.path]) == recipe  # noqa: B023  # called at once


def test_the_first_completion_of_many_choices_comes_at_once() -> None:
    """Of a table for each of 40 features there are more completions than can be counted out."""
    either = {"choose": {"none": {}, "dims": {"sparsity": {"float": [0.1, 0.5]}}}}
    space = Space({"prune": {"rows": {f"table_{at}": either for at in range(40)}}})
    values, recipe = next(space.completions({}))
    assert len(values) == 40
    assert recipe == {"prune": {"rows": {f"table_{at}": {"none": {}} for at in range(40)}}}
    outside = {"prune": {"rows": {"table_39": {"rows": {}}}}}
    assert list(space.completions(outside)) == []


TABLES: dict[str, Any] = {
    "prune": {
        "method": {
            "choose": {
                "none": {},
                "dims": {"sparsity": {"float": [0.1, 0.9], "step": 0.05}, "importance": {"any_of": ["norm", "pca"]}},
            }
        },
        "epochs": 5,
    },
    "quantize": {"bits": {"any_of": [32, 8]}},
}


def test_corners_are_every_combination_of_ends() -> None:
    methods: list[dict[str, Any]] = [{"none": {}}] + [
        {"dims": {"sparsity": sparsity, "importance": importance}}
        for sparsity in (0.1, 0.9)
        for importance in ("norm", "pca")
    ]
    expected = [{"prune": {"method": m, "epochs": 5}, "quantize": {"bits": b}} for m in methods for b in (32, 8)]
    assert list(Space(TABLES).corners()) == expected


def test_where_corners_are_too_many_every_end_is_still_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(TABLES)
    every_end = {leaf for corner in space.corners() for leaf in leaves(corner)}
    monkeypatch.setattr(space_module, "MOST_CORNERS", 3)
    corners = list(space.corners(seed=1))
    assert corners == list(space.corners(seed=1))
    assert {leaf for corner in corners for leaf in leaves(corner)} == every_end


def test_completions_say_what_was_said() -> None:
    found = list(
        Space(TABLES).completions({"prune": {"method": {"dims": {"sparsity": 0.35}}}, "quantize": {"bits": 8}})
    )
    assert [parameters for parameters, _ in found] == [
        {
            "space.prune.method": "dims",
            "space.prune.method.choose.dims.sparsity": 0.35,
            "space.prune.method.choose.dims.importance": importance,
            "space.quantize.bits": 8,
        }
        for importance in ("norm", "pca")
    ]
    assert all(recipe["prune"]["method"]["dims"]["sparsity"] == 0.35 for _, recipe in found)


@pytest.mark.parametrize(
    "outside",
    [
        {"quantize": {"bits": 4}},
        {"quantize": {"bits": 8.0}},
        {"quantize": {"bits": True}},
        {"prune": {"epochs": 6}},
        {"prune": {"method": {"dims": {"sparsity": 0.33}}}},
        {"prune": {"method": {"dims": {"sparsity": 0.95}}}},
        {"prune": {"method": {"rows": {}}}},
        {"prune": {"method": {"none": {}, "dims": {}}}},
        {"prune": {"method": "none"}},
        {"tune": {"epochs": 1}},
    ],
)
def test_there_is_no_completion_outside_the_space(outside: dict[str, Any]) -> None:
    assert list(Space(TABLES).completions(outside)) == []


def test_values_of_zero_survive_a_choice() -> None:
    tree = {"l1": {"choose": {"off": 0, "on": {"float": [0.0, 1.0]}}}}
    space = Space(tree)
    assert list(space.corners()) == [{"l1": {"off": 0}}, {"l1": {"on": 0.0}}, {"l1": {"on": 1.0}}]
    assert [recipe for _, recipe in space.completions({"l1": {"on": 0.0}})] == [{"l1": {"on": 0.0}}]


def test_options_may_be_named_by_numbers() -> None:
    # YAML reads `4: {}` as a whole number
    space = Space({"quantize": {"choose": {4: {}, 8: {"aware": {"any_of": [False, True]}}}}})
    expected = [{"quantize": {"4": {}}}, {"quantize": {"8": {"aware": False}}}, {"quantize": {"8": {"aware": True}}}]
    assert list(space.corners()) == expected


def test_a_step_moves_the_high_end_to_the_last_value_it_visits() -> None:
    domains = Space({"a": {"float": [0.1, 0.9], "step": 0.3}, "b": {"int": [1, 8], "step": 3}}).domains
    assert domains["space.a"].ends() == (0.1, 0.7)
    assert domains["space.b"].ends() == (1, 7)
    assert isinstance(domains["space.b"].high, int)


@pytest.mark.parametrize("value", [True, "2", None, 2.5, 0, 9, float("nan")])
def test_a_whole_number_domain_refuses(value: Any) -> None:
    assert not Space({"a": {"int": [1, 8]}}).domains["space.a"].holds(value)


def test_domains_in_a_few_words() -> None:
    domains = Space(TABLES, root="s").domains
    assert describe(domains["s.quantize.bits"]) == "any_of [32, 8]"
    assert describe(domains["s.prune.method"]) == "choose [none, dims]"
    assert describe(domains["s.prune.method.choose.dims.sparsity"]) == "float [0.1, 0.9]"


def test_paths_of_a_recipe_are_paths_of_the_yaml() -> None:
    path_of = Space(TABLES).path_of
    assert path_of(["prune", "method", "dims", "sparsity"]) == "space.prune.method.choose.dims.sparsity"
    assert path_of(["prune", "method", "dims"]) == "space.prune.method.choose.dims"
    assert path_of(["prune", "epochs"]) == "space.prune.epochs"
    assert path_of(["quantize", "bits", "more"]) == "space.quantize.bits.more"
    assert path_of([]) == "space"


def test_check_names_the_bound_that_cannot_be_built() -> None:
    def build(recipe: dict[str, Any]) -> None:
        if recipe["prune"]["method"].get("dims", {}).get("sparsity", 0) > 0.8:
            raise RecipeError(("prune", "method", "dims", "sparsity"), "at most 0.8 can go.")

    message = (
        r"^space\.prune\.method\.choose\.dims\.sparsity: at most 0\.8 can go\. .*an end of float \[0\.1, 0\.9\]\.$"
    )
    with pytest.raises(AutopruneError, match=message):
        Space(TABLES).check(build)


def test_check_names_a_fixed_value_without_bounds() -> None:
    def build(_: dict[str, Any]) -> None:
        raise RecipeError(("prune", "epochs"), "too long.")

    with pytest.raises(AutopruneError, match=r"^space\.prune\.epochs: too long\.$"):
        Space(TABLES).check(build)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1], r"^space: a space is a mapping of stages, but got \[1\]"),
        (
            {"a": {"float": [0.9, 0.5]}},
            r"^space\.a\.float: low <= high must hold, but got \[0\.9, 0\.5\]; swap the two",
        ),
        ({"a": {"float": [0.9]}}, r"^space\.a\.float: two numbers \[low, high\] must be given, but got \[0\.9\]"),
        ({"a": {"float": "ab"}}, r"^space\.a\.float: two numbers .* but got 'ab'"),
        ({"a": {"int": [1, 2.5]}}, r"^space\.a\.int: two numbers \[low, high\] must be given, but got \[1, 2\.5\]"),
        ({"a": {"int": [False, True]}}, r"^space\.a\.int: two numbers .* but got \[False, True\]"),
        ({"a": {"float": [0, 1], "step": 0}}, r"^space\.a\.step: a step above 0 must be given, but got 0"),
        ({"a": {"int": [0, 4], "step": 0.5}}, r"^space\.a\.step: a step above 0 must be given, but got 0\.5"),
        ({"a": {"float": [0, 1], "log": True}}, r"^space\.a\.log: low > 0 and no step must hold with log, but got"),
        ({"a": {"float": [1, 2], "log": True, "step": 1}}, r"^space\.a\.log: low > 0 and no step must hold with log"),
        ({"a": {"float": [0, 1], "stepp": 1}}, r"^space\.a: 'float' does not go with \['stepp'\].*Did you mean step\?"),
        ({"a": {"any_of": [1], "log": True}}, r"^space\.a: 'any_of' does not go with \['log'\]\. Take them out"),
        ({"a": {"any_of": [1], "choose": {"b": {}}}}, r"^space\.a: 'any_of' does not go with \['choose'\]"),
        ({"a": {"any_of": []}}, r"^space\.a\.any_of: a list of at least one value must be given, but got \[\]"),
        ({"a": {"any_of": "norm"}}, r"^space\.a\.any_of: a list of at least one value must be given, but got 'norm'"),
        (
            {"a": {"any_of": [{"b": 1}]}},
            r"^space\.a\.any_of: the values must be plain; for alternatives with parameters use choose",
        ),
        ({"a": {"any_of": [8, 4, 8]}}, r"^space\.a\.any_of: every value must be listed once, but got \[8, 4, 8\]"),
        ({"a": {"choose": {}}}, r"^space\.a\.choose: a mapping of at least one option must be given, but got \{\}"),
        (
            {"a": {"choose": ["b"]}},
            r"^space\.a\.choose: a mapping of at least one option must be given, but got \['b'\]",
        ),
        ({"a": {"choose": {"b": {"c": {"int": [2, 1]}}}}}, r"^space\.a\.choose\.b\.c\.int: low <= high must hold"),
    ],
)
def test_a_malformed_domain_is_refused_at_its_path(tree: Any, message: str) -> None:
    with pytest.raises(AutopruneError, match=message):
        Space(tree)


@pytest.mark.parametrize("step", [float("inf"), float("nan")])
def test_a_step_that_is_no_number_is_refused(step: float) -> None:
    with pytest.raises(AutopruneError, match=r"^space\.a\.step: a step above 0 must be given, but got (inf|nan)"):
        Space({"a": {"float": [0.1, 0.9], "step": step}})


def test_an_endless_range_is_not_called_upside_down() -> None:
    with pytest.raises(AutopruneError, match=r"^space\.a\.float: .*\[0, inf\]") as caught:
        Space({"a": {"float": [0, float("inf")]}})
    assert "swap" not in str(caught.value)
