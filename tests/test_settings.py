"""The list of settings knows all that `transformers`, sentence-transformers and published models write."""

from __future__ import annotations

import inspect
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from needed import needs
from published import PUBLISHED, REFUSED
from tiny_encoder import make_task, write_tiny_bert

from autoprune.encoder.bert import read_encoder
from autoprune.encoder.layouts.known import LAYOUTS
from autoprune.encoder.settings import CARRIED, FILES, HONOURED, IDLE, Only, check_settings
from autoprune.errors import AutopruneError

needs("sentence_transformers")

ARGUMENTS = ("self", "model_name_or_path", "backend")
"""Of a module of sentence-transformers that no file sets."""


@pytest.mark.parametrize("family", sorted(LAYOUTS))
def test_every_setting_of_a_family_is_in_the_list(family: str) -> None:
    """Of the version of transformers that is installed: a new one's new setting makes this fail."""
    from transformers import CONFIG_MAPPING

    settings = set(CONFIG_MAPPING[family]().to_dict())
    assert settings - set(FILES[LAYOUTS[family].config]) == set()


def test_every_setting_of_sentence_transformers_is_in_the_list() -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    assert set(Pooling.config_keys) | set(Pooling.config_key_renames) <= set(FILES["Pooling"])
    assert set(Dense.config_keys) <= set(FILES["Dense"])
    assert set(Normalize.config_keys) <= set(FILES["Normalize"])
    read = {name for name in inspect.signature(Transformer.__init__).parameters if name not in ARGUMENTS}
    assert set(Transformer.config_keys) | read <= set(FILES["sentence_bert_config.json"])
    told = {"prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", "model_type", "__version__"}
    assert told == set(FILES["config_sentence_transformers.json"])
    parsed = inspect.getsource(SentenceTransformer._parse_model_config)
    assert {name for name in ("prompts", "truncate_dim", "similarity_fn_name") if name in parsed} <= told


@pytest.mark.parametrize(
    "family", ["bert", *(pytest.param(family, marks=pytest.mark.slow) for family in sorted(set(LAYOUTS) - {"bert"}))]
)
def test_every_setting_that_is_written_is_in_the_list(family: str, tmp_path: Path) -> None:
    import sentence_transformers

    folder = write_tiny_bert(tmp_path / "model", family=family)
    sentence_transformers.SentenceTransformer(str(folder), device="cpu").save(str(tmp_path / "saved"))
    for name in ("model", "saved"):
        assert read_encoder(str(tmp_path / name)).notes == ()


@pytest.mark.parametrize("model", sorted(PUBLISHED))
def test_every_setting_of_published_models_is_in_the_list(model: str) -> None:
    refused = REFUSED.get(model)
    for kind, content in PUBLISHED[model].items():
        where = kind if kind in FILES else kind.partition("/")[0].partition("_")[2]
        if refused is not None and refused[0] == kind:
            with pytest.raises(AutopruneError, match=refused[1]):
                check_settings(where, content, file=kind, where=model)
        else:
            assert check_settings(where, content, file=kind, where=model) == [], kind


def test_what_the_list_says() -> None:
    for kind, settings in FILES.items():
        for name, fate in settings.items():
            assert fate in (HONOURED, CARRIED, IDLE) or isinstance(fate, Only), (kind, name)


@pytest.mark.parametrize(
    ("file", "entries", "words"),
    [
        ("config.json", {"is_decoder": True}, "a decoder is no encoder"),
        ("config.json", {"add_cross_attention": True}, "a decoder is no encoder"),
        ("config.json", {"pruned_heads": {"0": [1]}}, "save the model again with whole layers"),
        ("config.json", {"position_embedding_type": "relative_key_query"}, "only absolute positions are known"),
        ("config.json", {"position_embedding_type": "rotary"}, "only absolute positions are known"),
        ("tokenizer_config.json", {"split_special_tokens": True}, "special tokens in a text are read as such"),
        ("sentence_bert_config.json", {"query_length": 32}, "cut at the same length here"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "only feature-extraction is known"),
        ("sentence_bert_config.json", {"tokenizer_args": {"truncation_side": "left"}}, "tokenizer_config.json"),
        ("sentence_bert_config.json", {"config_args": {"hidden_act": "relu"}}, "write it into config.json"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 9}}}, "not known here"),
        ("sentence_bert_config.json", {"model_args": {"hidden_act": "relu"}}, "write others into config.json"),
        ("sentence_bert_config.json", {"model_kwargs": {"dtype": "auto", "num_hidden_layers": 2}}, "are known to"),
        ("sentence_bert_config.json", {"model_kwargs": ["dtype"]}, "are known to change nothing"),
        ("tokenizer_config.json", {"model_input_names": ["input_ids", "token_type_ids"]}, "would count as text"),
        ("1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True}, "mean and weightedmean is unknown"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "the pooling cls and mean is unknown"),
        ("1_Pooling/config.json", {"pooling_mode": "tokens"}, "the pooling tokens is unknown"),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "only sentence_embedding is known"),
    ],
)
def test_a_setting_that_would_be_lost_is_refused(
    file: str, entries: dict[str, Any], words: str, tiny: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    path = folder / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **entries}))
    with pytest.raises(AutopruneError) as caught:
        read_encoder(str(folder))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("sentence_bert_config.json", "model_args", {}),
        ("sentence_bert_config.json", "model_kwargs", {"add_pooling_layer": False, "attn_implementation": "sdpa"}),
        ("sentence_bert_config.json", "model_kwargs", None),
        ("tokenizer_config.json", "model_input_names", ["attention_mask", "input_ids"]),
        ("tokenizer_config.json", "model_input_names", None),
    ],
)
def test_a_setting_that_changes_nothing_is_let_be(kind: str, name: str, value: object) -> None:
    assert check_settings(kind, {name: value}, file=kind, where="m") == []


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "modules.json", "tokenizer.json"])
def test_a_byte_order_mark_is_named(file: str, tiny: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny, tmp_path / "model")) / file
    path.write_text("\ufeff" + path.read_text())
    with pytest.raises(AutopruneError, match=rf"{file}: it begins with a byte order mark"):
        read_encoder(str(path.parent))


@pytest.mark.slow
def test_whatever_stands_in_a_setting_is_read_or_refused(tiny: Path, tmp_path: Path) -> None:
    """Drawn by a seed: nothing but the one error, and nobody else speaks."""
    draw, folder = random.Random(0), Path(shutil.copytree(tiny, tmp_path / "model"))
    files = [path for path in sorted(folder.rglob("*.json")) if path.name != "tokenizer.json"]
    values = [None, True, -1, 0, 1, 2.5, 10**30, 1e-30, "x", "left", "null", "é", [], [1], ["x"], {}, {"x": 1}, [[]]]
    read, said = 0, []
    for _ in range(400):
        path = draw.choice(files)
        before = path.read_text()
        content = json.loads(before)
        target = draw.choice(content) if isinstance(content, list) else content
        names = sorted({*target, *FILES.get(path.name, FILES["Pooling"])})
        target[draw.choice(names)] = draw.choice(values)
        path.write_text(json.dumps(content))
        try:
            read_encoder(str(folder))
            read += 1
        except AutopruneError as error:
            said.append(str(error))
        path.write_text(before)
    assert 50 < read < 350
    assert [one for one in said if "\n" in one] == []


def test_a_setting_that_nobody_knows_is_told(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    for name in ("config.json", "tokenizer_config.json", "1_Pooling/config.json"):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "whitening": True, "alibi": 8}))
    said = make_task(folder).describe()
    for name in ("config.json", "tokenizer_config.json", "1_Pooling/config.json"):
        assert f"{name} sets alibi, whitening, of which nothing is known here" in said
