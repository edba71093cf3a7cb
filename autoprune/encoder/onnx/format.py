"""The format `onnx`: an encoder's or a cross-encoder's graph in the layout that transformers.js and others expect.

onnx/model_quantized.onnx                  the graph as the artifact holds it; of float32 alone onnx/model.onnx
onnx/model.onnx.data                       its weights, where they are more than two gigabytes
config.json, tokenizer.json, tokenizer_config.json, special_tokens_map.json
config_sentence_transformers.json          prompts and similarity (not of a cross-encoder)
sentence_bert_config.json                  the longest text (likewise)
settings.json                              all that the artifact says of the model
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Export, Obstacle, Use
from autoprune.encoder.inside import graph_inside, has_segments
from autoprune.encoder.obstacles import FLOAT, NO_ENCODER
from autoprune.encoder.prompts import DECLARED, Prompts
from autoprune.exports.tables import SETTINGS, write_json

NO_GRAPH = Obstacle(reason="its runtime is torch, which has no graph", steps=("runtime",), setting="=onnx")


class OnnxFormat(Export):
    """A graph with its tokenizer and configs; what it gives is what the artifact does, bit by bit."""

    name = "onnx"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        if manifest.get("kind") != "encoder":
            return [NO_ENCODER]
        return [] if manifest["runtime"] == "onnx" else [NO_GRAPH]

    def losses(self, folder: Path) -> list[str]:
        from autoprune.artifacts.manifest import read_manifest
        from autoprune.encoder.stock_format import left_to_store  # here, because to ask it waits for numpy

        manifest = read_manifest(folder)
        if manifest.get("score") == "sigmoid":
            return ["Its graph gives numbers before the sigmoid: the order is the same, a score is for you to make."]
        prompts = Prompts(**manifest.get("prompts") or {}).describe()
        lost = [f"Nothing puts prompts before texts there: {prompts}."] if prompts else []
        return lost + left_to_store(manifest)

    def fill(self, folder: Path, draft: Path) -> None:
        from autoprune.artifacts import artifact  # here, because to ask what can be written nobody waits for numpy
        from autoprune.encoder.stock_files import of_score, special_tokens, write_declared, write_tokenizer
        from autoprune.encoder.tokenizer import Tokenizer

        parts = artifact.read(folder, whole=True)
        manifest, length = parts.manifest, parts.manifest["max_tokens"]
        tokenizer = Tokenizer.read(parts.content("tokenizer.json").decode(), max_tokens=length)
        (draft / "onnx").mkdir()
        for name in parts.files:
            if name.startswith("model.onnx"):
                kept = graph_name(manifest) if name == "model.onnx" else name
                (draft / "onnx" / kept).write_bytes(parts.content(name))
        padding = tokenizer.pieces.index(special_tokens(tokenizer)["pad_token"])
        config = _config(manifest, vocabulary=tokenizer.size, padding=padding)
        scores = "score" in manifest
        write_json(draft / "config.json", config | (of_score(manifest) if scores else {}))
        write_tokenizer(parts, tokenizer, draft, has_segments=has_segments(manifest))
        if not scores:
            write_declared(manifest, draft)
            write_json(draft / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
        write_json(draft / SETTINGS, {**manifest, "keeps_end": tokenizer.keeps_end})

    def use(self, folder: Path, shown: str) -> Use:
        manifest = json.loads((folder / SETTINGS).read_bytes())
        place = f"onnx/{graph_name(manifest)}"
        scores, prompt = "score" in manifest, Prompts(**manifest.get("prompts") or {}).of("query")
        asked = "'a question', 'an answer'" if scores else repr(prompt + "hello")
        kinds = "'token_type_ids': [text.type_ids], " * has_segments(manifest)
        code = (
            "import onnxruntime, tokenizers; "
            f"model = onnxruntime.InferenceSession({f'{shown}/{place}'!r}); "
            f"text = tokenizers.Tokenizer.from_file({f'{shown}/tokenizer.json'!r}).encode({asked}); "
            f"given = {{'input_ids': [text.ids], {kinds}'attention_mask': [text.attention_mask]}}; "
            f"print(model.run(None, given)[0]{'' if scores else '.shape'})"
        )
        inside = graph_inside(manifest, model=place, tokenizer="tokenizer.json", keeps_end=manifest["keeps_end"])
        declared = "`config.json` says which it is" if scores else f"`{DECLARED}` says the same"
        return Use(code=code, inside=f"{inside} {declared}.\n\n{_javascript(manifest)}")


def graph_name(manifest: Mapping[str, Any]) -> str:
    """What the graph is called: by `quantized` where it holds codes, as transformers.js looks for it."""
    widths = manifest.get("bits") or {}
    return "model_quantized.onnx" if any(bits != FLOAT for bits in widths.values()) else "model.onnx"


def _config(manifest: Mapping[str, Any], *, vocabulary: int, padding: int) -> dict[str, Any]:
    """What readers look for in config.json. The type is one of a plain encoder: the graph brings all that differs."""
    layers = manifest["layers"]
    heads = max(layer["heads"] for layer in layers) * manifest.get("shared", 1)
    return {
        "architectures": ["BertForSequenceClassification" if "score" in manifest else "BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": manifest["hidden"],
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "intermediate_size": max(layer["ffn"] for layer in layers),
        "max_position_embeddings": manifest["max_tokens"],
        "pad_token_id": padding,
        "hidden_act": manifest["activation"],
    }


def _javascript(manifest: Mapping[str, Any]) -> str:
    """How transformers.js runs it, as Markdown."""
    kind = "q8" if graph_name(manifest) == "model_quantized.onnx" else "fp32"
    loads, given, gives = "AutoModel", "['hello'], {", "sentence_embedding"
    if "score" in manifest:
        loads, gives = "AutoModelForSequenceClassification", "logits"
        given = "['a question'], { text_pair: ['an answer'],"
        given += " return_token_type_ids: true," * has_segments(manifest)
    return (
        "In transformers.js, from a folder `models/NAME`:\n\n```js\n"
        f"import {{ {loads}, AutoTokenizer, env }} from '@huggingface/transformers'\n"
        "env.localModelPath = 'models/'; env.allowRemoteModels = false\n"
        "const tokenizer = await AutoTokenizer.from_pretrained('NAME')\n"
        f"const model = await {loads}.from_pretrained('NAME', {{ dtype: '{kind}' }})\n"
        f"const inputs = tokenizer({given} padding: true, truncation: true }})\n"
        f"const {{ {gives} }} = await model(inputs)\n```\n\n"
        f"Of what is longer than {manifest['max_tokens']} tokens it drops the closing mark, so that `{gives}` is not "
        "the same as elsewhere: give it shorter texts."
    )


ONNX = OnnxFormat()
