"""A tiny real BERT, as sentence-transformers keeps one, and texts for it."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.encoder.benchmarks.pairs import Pairs, Scored
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.stock_format import STOCK
from autoprune.encoder.texts.corpus import Corpus
from autoprune.tasks.task import Training

if TYPE_CHECKING:
    from autoprune.encoder.task import EncoderTask

HIDDEN, HEADS, LAYERS, NEURONS, POSITIONS, LONGEST = 32, 4, 4, 48, 64, 48

NOUNS = """water river stone bread house garden window market winter summer doctor teacher police engine bridge paper
music number letter mother father sister child friend village city country forest mountain island ocean animal horse
bird apple sugar coffee money price trade ship train road"""
VERBS = """walk talk jump look open close cook paint clean watch help call start end plant learn report answer visit
follow carry cross enter gather"""
STEMS = [*str.split(NOUNS), *str.split(VERBS)]
SMALL = str.split(
    "the a of in on to and with for from by at is was are were not no very old new big small red green cold"
)
ENDINGS = ("s", "ed", "ing", "er")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

CHARACTERS = [character for character in string.printable if character.isprintable() and not character.isspace()]
VOCABULARY = [
    *SPECIAL,
    *[character for character in CHARACTERS if not character.isupper()],
    *[f"##{character}" for character in string.ascii_lowercase + string.digits],
    *[word for word in (*STEMS, *SMALL) if len(word) > 1],
    *[f"##{ending}" for ending in ENDINGS if len(ending) > 1],
    *["##er##", "##ter", "##ing##", "wat", "riv", "mar", "win", "##ow", "##ket", "##ch"],
]


def write_texts(count: int = 200, *, seed: int = 0) -> list[str]:
    """Different texts of 3 to 14 words; earlier words of the list occur more often."""
    draw = np.random.default_rng(seed)
    weights = 1 / np.arange(2, len(STEMS) + 2) ** 0.7
    found: dict[str, None] = {}
    while len(found) < count:
        words = []
        for _ in range(int(draw.integers(3, 15))):
            if draw.random() < 0.35:
                words.append(str(draw.choice(SMALL)))
            else:
                ending = str(draw.choice(["", "", *ENDINGS]))
                words.append(str(draw.choice(STEMS, p=weights / weights.sum())) + ending)
        found[" ".join(words).capitalize() + "."] = None
    return list(found)


TEXTS = write_texts()


def write_tiny_bert(
    folder: Path, *, family: str = "bert", seed: int = 0, config: Mapping[str, Any] | None = None, **pooling: Any
) -> Path:
    """Writes a folder of sentence-transformers; see `write_modules` for the rest of the arguments.

    Args:
        family: one of `autoprune.encoder.layouts.known.LAYOUTS`; all with this module's WordPiece vocabulary.
        seed: draws the weights.
        config: entries of config.json that are to be others.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)
    kind, shapes = tiny_kind(family)
    sizes = {"vocab_size": len(VOCABULARY), "max_position_embeddings": POSITIONS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(kind.config_class(**{**sizes, **shapes, **(config or {})})).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if any(
                    word in name for word in ("word_embeddings", "shared", "embed_tokens", "tok_emb")
                ):  # rows of different length, so that norms rank them
                    weight.normal_(std=1.0).mul_(torch.rand(len(weight), 1) + 0.5)
                elif "norm" in name.lower():
                    weight.add_(torch.randn_like(weight) * 0.05)
                elif "relative" in name:
                    weight.normal_(std=1.0)
                elif "embeddings." in name:
                    weight.normal_(std=0.05)
                elif weight.dim() == 2:  # units of different strength, so that it matters which go
                    weight.normal_(std=0.2).mul_(torch.rand(len(weight), 1) + 0.5)
                else:
                    weight.normal_(std=0.05)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_modules(folder, **pooling)
    return folder


def tiny_kind(family: str) -> tuple[Any, dict[str, Any]]:
    """The class of `transformers` for a type of model, and what its config says beside what all say."""
    import transformers

    plain = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    plain["intermediate_size"] = NEURONS
    padded = {**plain, "type_vocab_size": 1, "pad_token_id": 1}
    unnamed = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    grouped = {**plain, **unnamed, "num_key_value_heads": HEADS // 2, "head_dim": 16}
    kinds = {
        "bert": ("Bert", plain),
        "electra": ("Electra", {**plain, "embedding_size": HIDDEN}),
        "roberta": ("Roberta", padded),
        "xlm-roberta": ("XLMRoberta", padded),
        "camembert": ("Camembert", padded),
        "distilbert": ("DistilBert", {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": NEURONS}),
        "mpnet": ("MPNet", plain),
        "albert": ("Albert", {**plain, "embedding_size": 24, "num_hidden_groups": 2, "inner_group_num": 1}),
        "t5": (
            "T5Encoder",
            {"d_model": HIDDEN, "num_layers": LAYERS, "num_heads": HEADS, "d_kv": 8, "d_ff": NEURONS}
            | {"relative_attention_num_buckets": 16, "relative_attention_max_distance": 20},
        ),
        "modernbert": ("ModernBert", {**plain, **unnamed, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3}),
        "qwen3": ("Qwen3", grouped),
        "gemma3_text": (
            "Gemma3Text",
            {**grouped, "sliding_window": 8, "sliding_window_pattern": 2, "query_pre_attn_scalar": 20}
            | {"use_bidirectional_attention": True},
        ),
    }
    name, shapes = kinds[family]
    return getattr(transformers, f"{name}Model"), shapes


def write_modules(
    folder: Path, *, pooling: str = "mean", normalize: bool = True, dense: dict[str, Any] | None = None
) -> None:
    """Writes what comes behind the layers: pooling, perhaps a Dense module, perhaps normalisation.

    Args:
        dense: `weight` (float32 [out, hidden]), perhaps `bias`, and the `activation`.
    """
    import safetensors.torch

    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": LONGEST, "do_lower_case": False}))
    names = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if normalize else [])]
    modules = []
    for number, name in enumerate(names):
        path = f"{number}_{name}" if number else ""
        (folder / path).mkdir(exist_ok=True)
        modules.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        )
    (folder / "modules.json").write_text(json.dumps(modules))
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    modes |= {"mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "lasttoken": "lasttoken"}
    modes["weightedmean"] = "weightedmean_tokens"
    config = {"word_embedding_dimension": HIDDEN}
    config |= {f"pooling_mode_{mode}": name == pooling for name, mode in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    if dense:
        held = {f"linear.{name}": dense[name] for name in ("weight", "bias") if name in dense}
        out, hidden = dense["weight"].shape
        settings = {"in_features": hidden, "out_features": out, "bias": "bias" in dense}
        settings["activation_function"] = dense.get("activation", "torch.nn.modules.linear.Identity")
        (folder / "2_Dense" / "config.json").write_text(json.dumps(settings))
        safetensors.torch.save_file(held, folder / "2_Dense" / "model.safetensors")


def scored(texts: list[str]) -> Scored:
    """Neighbours in the list as pairs; a pair's score is the share of its words that both have."""
    words = [set(text.lower().strip(".").split()) for text in texts]
    score = [len(one & other) / len(one | other) for one, other in pairwise(words)]
    return Scored(texts[:-1], texts[1:], score)


def make_task(folder: Path, corpus: list[str] = TEXTS[:120], **changed: Any) -> EncoderTask:
    """The task of a tiny model; `changed` are entries of its config."""
    from autoprune.encoder.task import EncoderTask  # it needs onnx, which these words and texts do not

    training = Training(learning_rate=3e-3, warmup=2, epochs=0, evaluate_every=1)
    config = EncoderConfig(
        **{
            "model": str(folder),
            "texts_per_epoch": 48,
            "texts_per_update": 16,
            "precision": "float32",  # the same on every machine
            "training": training,
            **changed,
        }
    )
    pairs = Pairs({"validation": scored(corpus[:30]), "test": scored(corpus[30:70])})
    return EncoderTask(config, read_encoder(str(folder)), Corpus.of(corpus, "made"), [pairs])


def write_stock(folder: Path, to: Path) -> Path:
    """Writes an artifact as a folder of sentence-transformers; returns where."""
    STOCK.write(folder, to)
    return to
