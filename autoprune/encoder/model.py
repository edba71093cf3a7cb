"""A sentence encoder of the BERT family: word and position tables, layers of attention and neurons, pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from autoprune.encoder.architecture import MAPS, Architecture, LayerNorm, tables_and_axes
from autoprune.encoder.functional import ACTIVATIONS, GONE, padded, places, pool
from autoprune.encoder.tokenizer import Tokenizer, Tokens
from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model, Watch, unchanged
from autoprune.models.table import Linear, Table


class Encoder(Model):
    """Texts to vectors: word and position tables, post-norm transformer layers (Devlin et al. 2019), pooling.

    Axes: `vocab` (rows of the word table, where the tokenizer can lose pieces), `layers`, and of each layer that
    stands, under its original number, `heads.i` and `ffn.i`; `out` (dimensions of the vectors). Groups of tables:
    `word`, and `body`, which is everything else.

    Args:
        architecture: what is not a weight.
        tokenizer: of the whole vocabulary.
        positions: rows of the position table.
        heads, ffn: of each layer.
        out: dimensions of the vectors; None: as many as `architecture.hidden`.

    Attributes:
        notes: what people should know of where it was read from.
    """

    layer_mask: Tensor
    projects: Tensor
    basis: Tensor

    def __init__(
        self,
        architecture: Architecture,
        tokenizer: Tokenizer,
        *,
        positions: int,
        heads: Sequence[int],
        ffn: Sequence[int],
        out: int | None = None,
    ) -> None:
        tables, axes = tables_and_axes(
            architecture, tokenizer, positions=positions, heads=heads, ffn=ffn, out=out or architecture.hidden
        )
        body = tuple(name for name in tables if name != "word")
        super().__init__(tables, axes, groups={"word": ("word",), "body": body})
        self.architecture = architecture
        self.tokenizer = tokenizer
        self.notes: tuple[str, ...] = ()
        self.norms = nn.ModuleDict({"embedding": LayerNorm(self._table("word").dim, architecture.epsilon)})
        for layer in range(len(heads)):
            for place in ("attention", "ffn"):
                self.norms[f"{place}_{layer}"] = LayerNorm(architecture.hidden, architecture.epsilon)
        self.layers = list(range(len(heads)))
        self.register_buffer("layer_mask", torch.ones(len(heads), dtype=torch.bool))
        self.register_buffer("projects", torch.tensor(False))
        self.register_buffer("basis", torch.eye(self.out))
        with torch.no_grad():
            self._table("out").weight.copy_(torch.eye(self.out, architecture.hidden))

    @property
    def tables(self) -> dict[str, Table]:
        """The tables at work: `out` once dimensions were turned or cut, those of a layer until it is hidden."""
        hidden = {str(layer) for layer, stands in self._layers() if not stands}
        found = {name: table for name, table in super().tables.items() if name.partition("_")[2] not in hidden}
        if not self.projects:
            del found["out"]
        return found

    def _layers(self) -> list[tuple[int, bool]]:
        """The original number of each layer, and whether it stands."""
        return list(zip(self.layers, self.layer_mask.tolist(), strict=True))

    @property
    def out(self) -> int:
        """Dimensions of a vector."""
        return self._table("out").rows

    @property
    def pieces(self) -> Tensor:
        """Original ids of the pieces that stand: int64, ascending."""
        word = self._table("word")
        return word.index[word.row_mask].cpu()

    @property
    def padding(self) -> int | None:
        """The row of the piece that has no place of its own; -1: it is gone; None: every piece has one."""
        if self.architecture.padding is None:
            return None
        rows = (self._table("word").index == self.architecture.padding).nonzero().flatten().tolist()
        return int(rows[0]) if rows else GONE

    def wanted(self) -> Tensor:
        """What takes vectors of the dense model to where this one's should be: float32 [out, out of the dense one]."""
        return self.basis * self._table("out").row_mask[:, None]

    def forward(
        self,
        ids: Tensor,
        there: Tensor,
        watch: Watch = unchanged,
        *,
        products: torch.dtype = torch.float32,
    ) -> Tensor:
        """The vectors of texts: float32 [batch, out], of length 1 where the architecture says so.

        Args:
            ids: rows of the word table, int64 [batch, tokens].
            there: bool [batch, tokens]; False is padding.
            watch: sees, and may change, what each axis carries.
            products: what linear maps multiply in; sums, attention and all the rest are float32 in any case.
        """
        word, norms = self._table("word"), self.norms
        hidden = word.values(ids.flatten()).view(*ids.shape, -1)
        hidden = norms["embedding"](hidden + self._table("position").values()[places(ids, self.padding)])
        if "project" in self._tables:
            hidden = self._mapped("project", hidden, products)
        mask = there[:, None, None, :] if not there.all() else None
        for layer, stands in self._layers():
            if stands:
                hidden = watch(f"layers.{layer}", hidden)
                hidden = norms[f"attention_{layer}"](hidden + self._attend(layer, hidden, mask, watch, products))
                neurons = self._map("up", layer, hidden, products)
                neurons = watch(f"ffn.{layer}", ACTIVATIONS[self.architecture.activation](neurons))
                hidden = norms[f"ffn_{layer}"](hidden + self._map("down", layer, neurons, products))
        vectors = pool(watch("layers.end", hidden), there, self.architecture.pooling)
        if self.projects:
            vectors = self._tables["out"](vectors)
        return normalize(vectors) if self.architecture.normalize else vectors

    def _attend(self, layer: int, hidden: Tensor, mask: Tensor | None, watch: Watch, products: torch.dtype) -> Tensor:
        batch, tokens, size = *hidden.shape[:2], self.architecture.head_dim
        query, key, value = (
            self._map(name, layer, hidden, products).view(batch, tokens, -1, size).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        context = watch(f"heads.{layer}", scaled_dot_product_attention(query, key, value, attn_mask=mask))
        return self._map("output", layer, context.transpose(1, 2).reshape(batch, tokens, -1), products)

    def _map(self, name: str, layer: int, vectors: Tensor, products: torch.dtype) -> Tensor:
        return self._mapped(f"{name}_{layer}", vectors, products)

    def _mapped(self, name: str, vectors: Tensor, products: torch.dtype) -> Tensor:
        with torch.autocast(vectors.device.type, dtype=products, enabled=products != torch.float32):
            mapped: Tensor = self._tables[name](vectors)
        return mapped.float()

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Texts as rows of the word table, under the pieces that stand."""
        word = self._table("word")
        encoded = self.tokenizer.restricted(self.pieces.numpy()).encode(texts)
        if bool(word.row_mask.all()):
            return encoded
        rows = word.row_mask.nonzero()[:, 0].cpu().numpy()
        return [rows[ids] for ids in encoded]

    def calibrate(self, inputs: Sequence[str], watch: Watch = unchanged, *, batch: int = 32) -> Tensor:
        """The vectors of texts, float32 [n, out], differentiable.

        `watch` sees batches, short texts first; what it sees of padding is zero.
        """
        tokens = self.tokens(inputs)
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        found, device = [], self.device
        for start in range(0, len(order), batch):
            ids, there = padded([tokens[at] for at in order[start : start + batch]])
            ids, there = ids.to(device), there.to(device)
            found.append(self(ids, there, watch if there.all() else _blind_to_padding(watch, there)))
        return torch.cat(found)[torch.from_numpy(np.argsort(order)).to(device)]

    def vectors(self, axis: Axis, context: Context) -> list[tuple[Tensor, Tensor | None]]:
        if context.rehearsal:  # any will do
            vectors = self._table("out").weights().detach().T
        else:
            with torch.no_grad():
                key = ("vectors", self.content(), tuple(context.calibration))
                vectors = context.known.get(key, lambda: self.calibrate(context.calibration))
        return [(vectors, torch.ones(len(vectors), device=vectors.device))]

    def protected(self, axis: Axis) -> Tensor:
        if axis.name != "vocab":
            return super().protected(axis)
        index = self._table("word").index
        return torch.isin(index, torch.from_numpy(self.tokenizer.protected).to(index.device)).nonzero()[:, 0]

    def standing_axes(self, kind: str) -> dict[str, Axis]:
        standing = {str(layer) for layer, stands in self._layers() if stands}
        inside = kind in ("heads", "ffn")
        return {name: axis for name, axis in self.axes_of(kind).items() if not inside or name in standing}

    def numbers(self, axis: Axis) -> list[int]:
        return list(self.layers) if axis.kind == "layers" else super().numbers(axis)

    def size(self, axis: Axis) -> int:
        return len(self.layers) if axis.kind == "layers" else super().size(axis)

    def standing(self, axis: Axis) -> Tensor:
        return self.layer_mask.nonzero()[:, 0] if axis.kind == "layers" else super().standing(axis)

    def hide(self, axis: Axis, keep: Tensor) -> None:
        if axis.kind == "layers":
            mask = torch.zeros_like(self.layer_mask)
            mask[keep] = True
            self.layer_mask = mask
            return
        super().hide(axis, keep)
        if axis.name == "out" and len(keep) < self.size(axis):
            self.projects = torch.ones_like(self.projects)

    def cut(self, axis: Axis, keep: Tensor) -> None:
        if axis.kind != "layers":
            super().cut(axis, keep)
            if axis.name == "out" and len(keep) < len(self.basis):
                self.projects = torch.ones_like(self.projects)
                self.basis = self.basis[keep]
            return
        kept = {self.layers[at] for at in keep.tolist()}
        for layer in set(self.layers) - kept:
            for name in MAPS:
                del self._tables[f"{name}_{layer}"]
            for name in ("attention", "ffn"):
                del self.norms[f"{name}_{layer}"]
            for name in ("heads", "ffn"):
                del self.axes[f"{name}.{layer}"]
        self.layers = [layer for layer in self.layers if layer in kept]
        self.layer_mask = self.layer_mask[keep]

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        table = self._table("out")
        assert isinstance(table, Linear), "vectors are projected by a linear map"
        table.weight.data = rotation.T @ table.weights().detach()
        table.bias.data = rotation.T @ table.bias.detach()
        self.basis = rotation.T @ self.basis
        self.projects = torch.ones_like(self.projects)

    def settings(self) -> dict[str, Any]:
        layers = [
            {"heads": self.size(self.axes[f"heads.{layer}"]), "ffn": self.size(self.axes[f"ffn.{layer}"])}
            for layer in self.layers
        ]
        counted = {} if self.padding is None else {"padding": self.padding}
        return {"kind": "encoder", **self.architecture.settings(), **counted, "out": self.out, "layers": layers}


def _blind_to_padding(watch: Watch, there: Tensor) -> Watch:
    """The same watch, which sees zeros where there is padding: no text's vector rests on what goes on there."""

    def blind(name: str, values: Tensor) -> Tensor:
        text = there[:, None, :, None] if values.dim() == 4 else there[:, :, None]
        return watch(name, values.masked_fill(~text, 0.0))

    return blind


def copy_weights(model: Encoder, weights: Mapping[str, Tensor]) -> None:
    """Sets the parameters of a fresh encoder: tables and norms by name (`up_0`, `up_0.bias`, `attention_0.norm`)."""
    with torch.no_grad():
        for name, table in model._tables.items():
            assert isinstance(table, Table), "only tables are kept"
            if name in weights:
                table.weight.copy_(weights[name])
                if isinstance(table, Linear) and f"{name}.bias" in weights:
                    table.bias.copy_(weights[f"{name}.bias"])
        for name, norm in model.norms.items():
            assert isinstance(norm, LayerNorm), "only norms are kept"
            norm.weight.copy_(weights[f"{name}.norm"])
            norm.bias.copy_(weights[f"{name}.norm.bias"])
        if "out" in weights:
            model.projects.fill_(True)
