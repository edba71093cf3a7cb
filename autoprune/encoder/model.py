"""A trainable sentence encoder: word and position tables, layers of attention and neurons, pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.encoder.architecture import MAPS, NORMS, Architecture
from autoprune.encoder.functional import GONE, Runs, padded
from autoprune.encoder.sizes import Norm, Sizes, tables_and_axes
from autoprune.encoder.stored import HALVES, WIDTHS
from autoprune.encoder.tokenizer import SECOND, Text, Tokenizer, Tokens, unmarked
from autoprune.encoder.transformer import Layer, embed
from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model, Watch, unchanged
from autoprune.models.table import FLOAT_BITS, Linear, Table


class Encoder(Model):
    """Texts to vectors: word and position tables, transformer layers (Vaswani et al. 2017), pooling.

    Axes: `vocab` (rows of the word table, if the tokenizer can lose pieces), `layers`, `out` (dimensions of the
    vectors), and for each remaining layer `heads.i` and `ffn.i`, where i is the layer's original number. Layers that
    share their weights (`Architecture.blocks`) share these two axes. Groups of tables: `word`, and `body` for
    everything else. In a cross-encoder the last linear layer (to the score) and the token types belong to no group.

    Args:
        architecture: everything that is not a weight.
        tokenizer: that of the whole vocabulary.
        sizes: those of the dense model.

    Attributes:
        notes: what people should know about the folder that the model was read from.
        matryoshka: whether it was trained so that the first dimensions of a vector work without the others.
        distances: what each distance adds to the attention scores of each head, in all layers alike: float32
            [heads, buckets], or None.
    """

    one_width = True

    layer_mask: Tensor
    projects: Tensor
    basis: Tensor
    distances: nn.Parameter | None

    def __init__(self, architecture: Architecture, tokenizer: Tokenizer, sizes: Sizes) -> None:
        tables, axes = tables_and_axes(architecture, tokenizer, sizes)
        # In a cross-encoder the order of documents depends on the few numbers of these tables.
        exact = ("word", "segment", "out") if architecture.score else ("word",)
        body = tuple(name for name in tables if name not in exact)
        super().__init__(tables, axes, groups={"word": ("word",), "body": body})
        self.architecture = architecture
        self.tokenizer = tokenizer
        self.notes: tuple[str, ...] = ()
        self.matryoshka = False
        widths = {"embedding": self._table("word").dim, "queries": architecture.head_dim, "keys": architecture.head_dim}
        self.norms = nn.ModuleDict()
        for name in sizes.norms:
            width = widths.get(name.partition("_")[0], architecture.hidden)
            bias = "norm" in sizes.biased
            self.norms[name] = Norm(width, architecture.epsilon, bias=bias, rms=architecture.rms)
        distances = torch.zeros(sizes.heads[0], sizes.buckets)
        self.register_parameter("distances", nn.Parameter(distances) if sizes.buckets else None)
        self.layers = list(range(len(architecture.blocks) or len(sizes.heads)))
        self.register_buffer("layer_mask", torch.ones(len(self.layers), dtype=torch.bool))
        self.register_buffer("projects", torch.tensor(False))
        self.register_buffer("basis", torch.eye(self.out))
        with torch.no_grad():
            self._table("out").weight.copy_(torch.eye(*self._table("out").weight.shape))

    @property
    def tables(self) -> dict[str, Table]:
        """The tables in use: `out` only once dimensions were rotated or cut, those of a layer until it is hidden."""
        standing = {str(block) for block in self._standing_blocks()}
        tables = {
            name: table
            for name, table in super().tables.items()
            if not (block := name.partition("_")[2]) or block in standing
        }
        if not self.projects:
            del tables["out"]
        return tables

    def _layers(self) -> list[tuple[int, bool]]:
        """The original number of each layer, and whether it is still in use."""
        return list(zip(self.layers, self.layer_mask.tolist(), strict=True))

    def _standing_blocks(self) -> list[int]:
        """The numbers of the blocks of weights that layers in use apply, each once."""
        return list(dict.fromkeys(self.architecture.block(layer) for layer, stands in self._layers() if stands))

    @property
    def blocks(self) -> list[int]:
        """The numbers of the blocks of weights that layers apply, each once."""
        return list(dict.fromkeys(map(self.architecture.block, self.layers)))

    @property
    def products(self) -> int:
        once = {name: table.rows * table.dim for name, table in self.tables.items() if isinstance(table, Linear)}
        applied = [self.architecture.block(layer) for layer, stands in self._layers() if stands]
        times = {str(block): applied.count(block) for block in applied}
        return sum(count * times.get(name.partition("_")[2], 1) for name, count in once.items())

    @property
    def out(self) -> int:
        """Dimensions of a vector."""
        return self._table("out").rows

    @property
    def pieces(self) -> Tensor:
        """Original ids of the remaining pieces: int64, ascending."""
        word = self._table("word")
        return word.index[word.row_mask].cpu()

    @property
    def padding(self) -> int | None:
        """The row of the piece that has no position; -1: that piece was cut; None: every piece has a position."""
        if self.architecture.padding is None:
            return None
        rows = (self._table("word").index == self.architecture.padding).nonzero().flatten().tolist()
        return int(rows[0]) if rows else GONE

    def wanted(self) -> Tensor:
        """The map from vectors of the dense model to this model's targets: float32 [out, out of the dense model]."""
        return self.basis * self._table("out").row_mask[:, None]

    def forward(
        self,
        ids: Tensor,
        there: Tensor | None,
        watch: Watch = unchanged,
        *,
        products: torch.dtype = torch.float32,
        runs: Runs | None = None,
    ) -> Tensor:
        """The vectors of texts: float32 [texts, out], of length 1 where the architecture says so.

        Args:
            ids: rows of the word table, int64 [batch, tokens].
            there: bool [batch, tokens], False for padding; None: no padding.
            watch: sees, and may change, the values of each axis and the input of each linear layer.
            products: the dtype of linear layers and neurons; sums, attention and the rest are always float32.
            runs: how texts are laid end to end; see `autoprune.encoder.functional.end_to_end`.
        """
        layers = [Layer(layer, self.architecture.block(layer)) for layer, stands in self._layers() if stands]
        weights = _Weights(self, products, watch)
        return embed(
            weights,
            ids,
            there,
            watch,
            architecture=self.architecture,
            padding=self.padding,
            layers=layers,
            runs=runs,
        )

    def distances_of(self, layer: int) -> Tensor | None:
        """What each distance adds to the scores of a layer's remaining heads: float32 [heads, buckets]."""
        if self.distances is None:
            return None
        kept = self.numbers(self.axes[f"heads.{self.architecture.block(layer)}"])
        return self.distances if len(kept) == len(self.distances) else self.distances[kept]

    def tokens(self, texts: Sequence[Text]) -> list[Tokens]:
        """Texts as rows of the word table, encoded with the remaining pieces."""
        word = self._table("word")
        encoded = self.tokenizer.restricted(self.pieces.numpy()).encode(texts)
        if bool(word.row_mask.all()):
            return encoded
        rows = word.row_mask.nonzero()[:, 0].cpu().numpy()
        return [rows[ids] | segments << SECOND for ids, segments in map(unmarked, encoded)]

    def calibrate(self, inputs: Sequence[Text], watch: Watch = unchanged, *, batch: int = 32) -> Tensor:
        """The vectors of texts, float32 [n, out], differentiable.

        `watch` sees batches, short texts first; padding is shown to it as zeros.
        """
        tokens = self.tokens(inputs)
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        vectors, device = [], self.device
        for start in range(0, len(order), batch):
            ids, there = padded([tokens[at] for at in order[start : start + batch]])
            ids, there = ids.to(device), there.to(device)
            vectors.append(self(ids, there, watch if there.all() else _blind_to_padding(watch, there)))
        return torch.cat(vectors)[torch.from_numpy(np.argsort(order)).to(device)]

    def vectors(self, axis: Axis, context: Context) -> list[tuple[Tensor, Tensor | None]]:
        if context.rehearsal:  # any vectors will do
            vectors = self._table("out").weights().detach().T
        else:
            with torch.no_grad():
                key = ("vectors", context.content_of(self), tuple(context.calibration))
                vectors = context.known.get(key, lambda: self.calibrate(context.calibration))
        return [(vectors, torch.ones(len(vectors), device=vectors.device))]

    def protected(self, axis: Axis) -> Tensor:
        if axis.name != "vocab":
            return super().protected(axis)
        index = self._table("word").index
        return torch.isin(index, torch.from_numpy(self.tokenizer.protected).to(index.device)).nonzero()[:, 0]

    def with_needed(self, axis: Axis, importance: Tensor) -> Tensor:
        if axis.name != "vocab":
            return super().with_needed(axis, importance)
        pieces, by_id = self._table("word").index.cpu().numpy(), np.zeros(self.tokenizer.size)
        by_id[pieces] = importance.cpu().numpy()
        return torch.from_numpy(self.tokenizer.before_wholes(by_id)[pieces]).to(importance.device)

    def standing_axes(self, kind: str) -> dict[str, Axis]:
        standing = {str(block) for block in self._standing_blocks()}
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
        before = self.blocks
        self.layers = [self.layers[at] for at in keep.tolist()]
        for block in set(before) - set(self.blocks):
            for modules, names in ((self._tables, MAPS), (self.norms, NORMS)):
                for name in names:
                    modules._modules.pop(f"{name}_{block}", None)
            for kind in ("heads", "ffn"):
                del self.axes[f"{kind}.{block}"]
        self.layer_mask = self.layer_mask[keep]

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        table = self._table("out")
        assert isinstance(table, Linear), "`out` is a linear layer"
        assert table.bias is not None, "`out` has a bias"
        table.weight.data = rotation.T @ table.weights().detach()
        table.bias.data = rotation.T @ table.bias.detach()
        self.basis = rotation.T @ self.basis
        self.projects = torch.ones_like(self.projects)

    def unstorable(self, bits: int) -> str:
        if type(bits) is not int or bits not in WIDTHS:
            return f"one of {', '.join(map(str, WIDTHS))} must be given, but got {bits!r}"
        similarity = self.architecture.similarity
        if bits >= HALVES or similarity == "cosine" or self.architecture.normalize:
            return ""
        return (
            f"{bits} bits keep the direction of a vector but lose its length, on which this model's similarity "
            f"({similarity}) depends; give 16 or 32"
        )

    def settings(self) -> dict[str, Any]:
        optional = {} if self.padding is None else {"padding": self.padding}
        optional |= {} if self.stored_bits == FLOAT_BITS else {"stored_bits": self.stored_bits}
        layers = [self._settings_of(layer) for layer in self.layers]
        return {"kind": "encoder", **self.architecture.settings(), **optional, "out": self.out, "layers": layers}

    def _settings_of(self, layer: int) -> dict[str, Any]:
        block = self.architecture.block(layer)
        sizes = {kind: self.size(self.axes[f"{kind}.{block}"]) for kind in ("heads", "ffn")}
        shared = {"block": self.blocks.index(block)} if self.architecture.blocks else {}
        normed = any(name.startswith("preattention_") for name in self.norms)
        bare = {"bare": True} if normed and f"preattention_{block}" not in self.norms else {}
        return {**sizes, **self.architecture.of_layer(layer), **shared, **bare}


class _Weights:
    """The weights of a trainable encoder, in the form that `autoprune.encoder.transformer` reads.

    Args:
        model: the encoder.
        products: the dtype of linear layers.
        watch: sees the inputs of linear layers.
    """

    def __init__(self, model: Encoder, products: torch.dtype, watch: Watch) -> None:
        self._model, self._products, self._watch = model, products, watch

    def has(self, name: str) -> bool:
        return name in self._model._tables and (name != "out" or bool(self._model.projects))

    def looked_up(self, name: str, rows: Tensor) -> Tensor:
        return self._model._table(name).values(rows.flatten()).view(*rows.shape, -1)

    def mapped(self, name: str, vectors: Tensor) -> Tensor:
        # Layers after the pooling stay in float32: they are small.
        narrow = self._products != torch.float32 and name not in ("out", "dense")
        with torch.autocast(vectors.device.type, dtype=self._products, enabled=narrow):
            mapped: Tensor = self._model._tables[name](self._watch(f"maps.{name}", vectors))
        return mapped

    def normed(self, name: str, vectors: Tensor) -> Tensor:
        norms = self._model.norms
        return norms[name](vectors.float()) if name in norms else vectors

    def relative(self, layer: int) -> Tensor | None:
        return self._model.distances_of(layer)


def _blind_to_padding(watch: Watch, there: Tensor) -> Watch:
    """The same watch, but it sees zeros at padding: no text's vector depends on the values there."""

    def blind(name: str, values: Tensor) -> Tensor:
        if values.dim() == 2:  # after the pooling
            return watch(name, values)
        text = there[:, None, :, None] if values.dim() == 4 else there[:, :, None]
        return watch(name, values.masked_fill(~text, 0.0))

    return blind


def copy_weights(model: Encoder, weights: Mapping[str, Tensor]) -> None:
    """Sets the parameters of a fresh encoder: tables and norms by name (`up_0`, `up_0.bias`, `attention_0.norm`)."""
    with torch.no_grad():
        for name, table in model._tables.items():
            assert isinstance(table, Table), "an encoder's tables are `Table`s"
            if name in weights:
                table.weight.copy_(weights[name])
                if table.bias is not None and f"{name}.bias" in weights:
                    table.bias.copy_(weights[f"{name}.bias"])
        for name, norm in model.norms.items():
            assert isinstance(norm, Norm), "an encoder's norms are `Norm`s"
            norm.weight.copy_(weights[f"{name}.norm"])
            if norm.bias is not None:
                norm.bias.copy_(weights[f"{name}.norm.bias"])
        if model.distances is not None:
            model.distances.copy_(weights["distances"])
        if "out" in weights:
            model.projects.fill_(True)
