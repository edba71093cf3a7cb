"""The attention of an encoder's graph: which tokens attend to which, and the outputs of the heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from autoprune.encoder.onnx.nodes import Graph
from autoprune.encoder.onnx.operators import linear, normed
from autoprune.encoder.onnx.spec import Encoder, Layer

LOWEST = float(np.finfo(np.float32).min)


class Sight:
    """Which tokens attend to which; each part is computed once for all layers that need it.

    Args:
        graph, encoder: the graph and the encoder of all layers.
        asking: how many of the first tokens are queries; None: all tokens.
    """

    def __init__(self, graph: Graph, encoder: Encoder, asking: int | None = None) -> None:
        self._graph, self._encoder, self.asking = graph, encoder, asking
        self._computed: dict[Any, Any] = {}

    def first(self) -> Sight:
        """The same with the first token as the only query."""
        return Sight(self._graph, self._encoder, 1)

    def asked(self, states: str) -> str:
        """The states of the query tokens, from the states of all tokens, [tokens, ...]."""
        if self.asking is None:
            return states
        graph = self._graph
        return graph.node("Slice", [states, graph.numbers(0), graph.numbers(self.asking), graph.numbers(0)])

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._computed:
            self._computed[key] = make()
        return self._computed[key]

    def places(self) -> str:
        """Positions of tokens: int64 [tokens]."""
        graph = self._graph

        def make() -> str:
            one = graph.constant(np.array(1, np.int64))
            tokens = graph.node("Squeeze", [graph.node("Shape", ["input_ids"], start=1, end=2)])
            return graph.node("Range", [graph.constant(np.array(0, np.int64)), tokens, one])

        return str(self._once("places", make))

    def distance(self) -> str:
        """Distances from each query token to each key token: int64 [asking, tokens]."""
        graph = self._graph

        def make() -> str:
            asking = graph.node("Unsqueeze", [self.asked(self.places()), graph.numbers(1)])
            return graph.node("Sub", [graph.node("Unsqueeze", [self.places(), graph.numbers(0)]), asking])

        return str(self._once("distance", make))

    def penalty(self, reach: int | None) -> str:
        """What is added to scores to mask padding and tokens out of reach: float32 [batch, 1, 1 or asking, tokens]."""
        return str(self._once(("penalty", reach), lambda: self._penalty(reach)))

    def _penalty(self, reach: int | None) -> str:
        graph = self._graph
        seen = graph.node(
            "Cast", [graph.node("Unsqueeze", ["attention_mask", graph.numbers(1, 2)])], to=TensorProto.BOOL
        )
        ends = [(0, "LessOrEqual")] if self._encoder.causal else []
        if reach is not None:
            ends += [(-reach, "GreaterOrEqual")] + ([] if self._encoder.causal else [(reach, "LessOrEqual")])
        for end, operator in ends:
            near = graph.node(operator, [self.distance(), graph.constant(np.array(end, np.int64))])
            seen = graph.node("And", [seen, near])
        return graph.node("Where", [seen, graph.number(0), graph.number(LOWEST)])

    def added(self, layer: Layer) -> list[str]:
        """What is added to the scores of a layer, each float32 [batch or 1, heads or 1, asking or 1, tokens]."""
        graph, distances = self._graph, layer.distances
        terms = [self.penalty(layer.reach)]
        if distances is not None:
            table, farthest = graph.constant(distances), distances.shape[1] // 2

            def make() -> str:
                ends = [graph.constant(np.array(end, np.int64)) for end in (-farthest, farthest)]
                near = graph.node("Clip", [self.distance(), *ends])
                at = graph.node("Add", [near, graph.constant(np.array(farthest, np.int64))])
                return graph.node("Unsqueeze", [graph.node("Gather", [table, at], axis=1), graph.numbers(0)])

            terms.append(str(self._once(("distances", table), make)))
        return terms

    def turned(self, layer: Layer, vectors: str, *, asking: bool) -> str:
        """Queries or keys, float32 [tokens, batch, heads, head_dim], rotated by their positions."""
        if layer.theta is None:
            return vectors
        graph, half, theta = self._graph, self._encoder.head_dim // 2, layer.theta

        def make() -> tuple[str, str]:
            size = self._encoder.head_dim
            speeds = (1 / theta ** (np.arange(0, size, 2, dtype=np.float32) / size)).astype(np.float32)
            at = graph.node("Cast", [self.asked(self.places()) if asking else self.places()], to=TensorProto.FLOAT)
            at = graph.node("Unsqueeze", [at, graph.numbers(1, 2, 3)])
            angles = graph.node("Mul", [at, graph.constant(np.concatenate([speeds, speeds]))])
            return graph.node("Cos", [angles]), graph.node("Sin", [angles])

        cosines, sines = self._once(("turns", theta, asking and self.asking is not None), make)
        first, second = (
            graph.node("Slice", [vectors, graph.numbers(start), graph.numbers(end), graph.numbers(-1)])
            for start, end in ((0, half), (half, 2 * half))
        )
        across = graph.node("Concat", [graph.node("Neg", [second]), first], axis=-1)
        return graph.node("Add", [graph.node("Mul", [vectors, cosines]), graph.node("Mul", [across, sines])])


def attend(graph: Graph, states: str, layer: Layer, encoder: Encoder, sight: Sight) -> str:
    """Outputs of the heads of a layer: float32 [asking, batch, heads * head_dim]."""
    asking, size, shared = sight.asked(states), encoder.head_dim, encoder.shared
    maps, inputs = (layer.query, layer.key, layer.value), (asking, states, states)
    several = sum(one.coded and fed == states for one, fed in zip(maps, inputs, strict=True)) > 1
    codes = graph.quantize(states) if several else None
    query, key, value = (
        graph.node(
            "Reshape",
            [linear(graph, fed, one, codes=codes if fed == states else None), graph.numbers(0, 0, -1, size)],
        )
        for fed, one in zip(inputs, maps, strict=True)
    )
    query = sight.turned(layer, normed(graph, [query], layer.queries, encoder.epsilon), asking=True)
    key = sight.turned(layer, normed(graph, [key], layer.keys, encoder.epsilon), asking=False)
    if shared > 1:
        heads = graph.numbers(*np.repeat(np.arange(layer.heads), shared).tolist())
        key, value = (graph.node("Gather", [one, heads], axis=2) for one in (key, value))
    scale = size**-0.5 if encoder.scale is None else encoder.scale
    scores = graph.contrib(
        "FusedMatMul", [query, key], transB=1, transBatchA=1, transBatchB=1, alpha=scale
    )  # [batch, heads, asking, tokens]
    for one in sight.added(layer):
        scores = graph.node("Add", [scores, one])
    weights = graph.node("Softmax", [scores], axis=-1)
    read = graph.contrib("FusedMatMul", [weights, value], transBatchB=1)
    read = graph.node("Transpose", [read], perm=[2, 0, 1, 3])
    return graph.node("Reshape", [read, graph.numbers(0, 0, shared * layer.heads * size)])
