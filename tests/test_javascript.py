"""transformers.js reads what `pick --format onnx` writes, by the very lines of the card, and answers as the artifact.

Needs node, and transformers.js in `.node`: `npm install --prefix .node --ignore-scripts @huggingface/transformers`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_encoder import TEXTS
from tiny_reranker import write_tiny_reranker

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.formats import find_format
from autoprune.artifacts.served import Beside
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.reranker.reading import read_cross_encoder
from autoprune.encoder.reranker.served import Reranker
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.task import EncoderTask
from autoprune.models.model import Model
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer

NODE, MODULES = shutil.which("node"), Path(__file__).parent.parent / ".node" / "node_modules"

if NODE is None or not (MODULES / "@huggingface" / "transformers").is_dir():
    pytest.skip("node or transformers.js is not installed", allow_module_level=True)

pytestmark = pytest.mark.slow


def answered(folder: Path, use: str, asked: str, given: str, name: str) -> NDArray[Any]:
    """What the card's lines give in node, float32 of any shape.

    Args:
        folder: the export; it becomes models/NAME beside a script.
        use: Markdown with the lines.
        asked: what they ask, replaced by `given`.
        name: of the tensor that they take out.
    """
    lines = re.findall(r"```js\n(.*?)\n```", use, flags=re.DOTALL)
    assert len(lines) == 1
    assert lines[0].count(asked) == 1
    (folder.parent / "node_modules").symlink_to(MODULES)
    shutil.copytree(folder, folder.parent / "models" / "NAME")
    script = folder.parent / "card.mjs"
    script.write_text(
        lines[0].replace(asked, given)
        + f"\nconsole.log('<<' + JSON.stringify([{name}.dims, Array.from({name}.data)]) + '>>')\n"
    )
    assert NODE is not None
    ran = subprocess.run([NODE, script.name], cwd=script.parent, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    shape, values = json.loads(ran.stdout.partition("<<")[2].partition(">>")[0])
    return np.array(values, dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_vectors_are_those_of_the_artifact(encoder_task: EncoderTask, bits: int | None, tmp_path: Path) -> None:
    model: Model = encoder_task.model({}, seed=0)
    if bits:
        (stage,) = plan({"quantize": {"bits": {"word": bits, "body": bits}}}, base_defaults={}).stages
        trainer, context = Trainer(encoder_task.training), encoder_task.context(seed=0, device=torch.device("cpu"))
        model = run_stage(model, stage, encoder_task, context, trainer=trainer, key="")
    artifact.save(encoder_task.parts(model, "onnx"), tmp_path / "made", provenance={})
    form, folder = find_format("onnx"), tmp_path / "größe 1"
    form.write(tmp_path / "made", folder)
    texts = [*TEXTS[:5], ""]
    inside = form.use(folder, str(folder)).inside
    found = answered(folder, inside, "['hello']", json.dumps(texts), "sentence_embedding")
    served = autoprune.load(tmp_path / "made")
    assert isinstance(served, SentenceEncoder)
    np.testing.assert_allclose(found, served.encode(texts), atol=1e-4 if bits else 1e-5)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_scores_of_pairs_are_those_of_the_artifact(family: str, tmp_path: Path) -> None:
    """Of BERT alone the tokens of the second text are marked, which transformers.js has to do as well."""
    declared = {"activation_fn": "torch.nn.modules.linear.Identity"}
    dense = write_tiny_reranker(tmp_path / "dense", family=family, sentence_transformers=declared)
    parts = encoder_parts(read_cross_encoder(str(dense)), "onnx", Beside(values={}, tensors={}))
    artifact.save(parts, tmp_path / "made", provenance={})
    form, folder = find_format("onnx"), tmp_path / "out"
    form.write(tmp_path / "made", folder)
    pairs = [("water on the river", TEXTS[0]), ("", TEXTS[2]), (TEXTS[3], TEXTS[4])]
    one, other = (json.dumps(texts) for texts in zip(*pairs, strict=True))
    inside = form.use(folder, str(folder)).inside
    asked, given = "['a question'], { text_pair: ['an answer'],", f"{one}, {{ text_pair: {other},"
    served = autoprune.load(tmp_path / "made")
    assert isinstance(served, Reranker)
    np.testing.assert_allclose(answered(folder, inside, asked, given, "logits")[:, 0], served.predict(pairs), atol=1e-5)
