"""A tiny real cross-encoder of random weights, as `transformers` keeps one, and a collection that it can be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_encoder import POSITIONS, TEXTS, VOCABULARY, tiny_kind

FAMILIES = ("bert", "electra", "distilbert", "roberta", "xlm-roberta", "mpnet", "albert", "modernbert")


def write_tiny_reranker(folder: Path, *, family: str = "bert", labels: int = 1, seed: int = 0, **said: Any) -> Path:
    """Writes a folder that `CrossEncoder` of sentence-transformers loads.

    Args:
        family: a `model_type`; all with the WordPiece vocabulary of `tiny_encoder`.
        labels: numbers for a pair.
        seed: draws the weights.
        said: entries of config.json that are to be others.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    names = ["input_ids", *(["token_type_ids"] if family in ("bert", "electra", "albert") else []), "attention_mask"]
    tokenizer = transformers.BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), do_lower_case=True, model_max_length=48, model_input_names=names
    )
    layers, shapes = tiny_kind(family)
    kind = getattr(transformers, layers.__name__.removesuffix("Model") + "ForSequenceClassification")
    sizes = {"vocab_size": len(VOCABULARY), "max_position_embeddings": POSITIONS, "num_labels": labels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(kind.config_class(**{**sizes, **shapes, **said})).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name.lower():
                    weight.add_(torch.randn_like(weight) * 0.1)
                elif weight.dim() == 2:
                    spread = 1.0 if "embeddings." in name or "relative" in name else 0.25
                    weight.normal_(std=spread).mul_(torch.rand(len(weight), 1) + 0.5)
                else:
                    weight.normal_(std=0.1)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_collection(folder: Path, *, documents: int = 60, queries: int = 24) -> Path:
    """A collection in BEIR's form: the first words of some documents ask, and these are relevant."""
    folder.mkdir(parents=True)
    texts = TEXTS[:documents]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{at}", "text": text}) + "\n" for at, text in enumerate(texts))
    )
    (folder / "queries.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"q{at}", "text": " ".join(text.split()[:3])}) + "\n"
            for at, text in enumerate(texts[:queries])
        )
    )
    (folder / "qrels").mkdir()
    lines = "".join(f"q{at}\td{at}\t1\n" for at in range(queries))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder
