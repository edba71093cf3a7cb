"""The recommender task: matrix factorisation, full ranking, slices by popularity and history."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import svds
from torch import Tensor
from torch.nn.functional import normalize

from autoprune.artifacts.served import Beside, Parts
from autoprune.errors import AutopruneError, RecipeError
from autoprune.machine import at_once, memory
from autoprune.models.context import Context
from autoprune.recommender import folding
from autoprune.recommender.beside import make_beside
from autoprune.recommender.config import WIDEST, RecommenderConfig
from autoprune.recommender.data.interactions import Interactions
from autoprune.recommender.loss import SOFTMAX_USERS, log_likelihood, opponents
from autoprune.recommender.model import Factorization, random_factorization
from autoprune.recommender.served import Recommender
from autoprune.recommender.targets import ASIDES, PERTURBATIONS, SLICES, Targets
from autoprune.tasks.ranking import longest_list, ranking_metrics
from autoprune.tasks.task import Task

SCORE_USERS = 256
"""Users ranked at a time on a CPU; bounds memory at SCORE_USERS x items x 4 bytes."""

COPIES = 5
"""Copies of the tables in memory during training: weights, gradients, Adam's two moments, the best state so far."""

INITIAL_RMS = 0.1
"""Root mean square of the initial weights of each table."""

RAISED = 0.5
"""The share of their mean by which counts of interactions are raised, see `RecommenderTask.initialize`."""

VALIDATED_USERS = 8192
"""At most so many users are evaluated by `validate` during training: more would cost as much as the training itself."""

ENCODED = 32
"""Compressed sets of ids to cache: recipes of a search often remove the same rows."""

LOOK_SCORES, LOOK_USERS = 2**23, 4096
"""A look evaluates as many users as LOOK_SCORES scores (users x items) allow, but at least LOOK_USERS: with fewer, the
error exceeds the differences between recipes. `Look.errors` gives the error of each look."""

CLOSER = 8
"""A closer look evaluates so many times the users of a look, if there are enough."""


class RecommenderTask(Task[Factorization, Recommender]):
    """Recommends items to users by the dot product of their rows.

    Training maximises the multinomial likelihood of each user's items over the whole catalogue (Liang et al. 2018,
    "Variational Autoencoders for Collaborative Filtering"); logits are cosines divided by a temperature. A large
    catalogue is sampled (Wu et al. 2024, "On the Effectiveness of Sampled Softmax Loss for Item Recommendation"). The
    dense model starts from a truncated SVD of the normalised interactions. Because rare items are memorised, this
    likelihood underrates popular ones; so serving scores items by cosine x popularity^power (Zhang et al. 2021,
    "Causal Intervention for Leveraging Popularity Bias in Recommendation"). `settle` folds the normalisation and the
    popularity into the rows, so that a plain dot product serves.
    """

    slices = SLICES
    perturbations = PERTURBATIONS
    asides = ASIDES
    workload_names: tuple[str, ...] = ("single", "batch")
    unit = "user"

    def __init__(self, name: str, data: Interactions, config: RecommenderConfig) -> None:
        config.check()
        self.name = name
        self.data = data
        self.config = config
        self.metric = config.metric
        names = dict.fromkeys([config.metric, *config.metrics])
        self.metrics = ranking_metrics(names)
        self.cutoff = longest_list(names)
        self.base = {"dim": config.dim}
        self.training = config.training
        self._fingerprint = data.fingerprint()
        self._targets = {split: Targets(data, split, data.evaluable(split)) for split in ("validation", "test")}
        self._other_targets: dict[tuple[str, str], Targets] = {}
        users = data.evaluable("validation")
        look_users = max(LOOK_USERS, LOOK_SCORES // max(len(data.items), 1))
        self._validate_targets, self._look_targets, self._closer_targets = (
            Targets(data, "validation", np.sort(np.random.default_rng(0).choice(users, most, False)))
            if most < len(users)
            else self._targets["validation"]
            for most in (VALIDATED_USERS, look_users, CLOSER * look_users)
        )
        self.looks_closer = self._closer_targets is not self._look_targets
        self._encode_ids = lru_cache(ENCODED)(self._encoded_ids)
        self._beside = self._make_beside()
        self._trainable = (data.train.counts > 0).nonzero()[:, 0]
        self._item_counts = torch.bincount(data.train.items, minlength=len(data.items))

    def describe(self) -> str:
        counts = [len(split.items) for split in (self.data.train, self.data.validation, self.data.test)]
        return (
            f"{len(self.data.users):,} users x {len(self.data.items):,} items; "
            f"{counts[0]:,} / {counts[1]:,} / {counts[2]:,} interactions to train / validate / test"
            + (f"; split {self.data.how}" if self.data.how else "")
            + "".join(f"; {note}" for note in self.data.notes)
        )

    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self.config)
        for reported_only in ("metrics", "data", "model"):  # the content of data and tables is hashed, not their paths
            settings.pop(reported_only, None)
        if len(self.data.items) <= self.config.items_per_update:  # no items are sampled
            settings.pop("items_per_update")
        if (self.data.train.counts == 0).any():  # earlier versions did not set these rows to 0
            settings["empty_rows"] = True
        if self.config.model.path is None and not self._all_linked:  # earlier versions did not raise counts
            settings["raised"] = RAISED
        return f"{self._fingerprint} {json.dumps(settings, sort_keys=True)}"

    def context(self, *, seed: int, device: torch.device) -> Context:
        counts = {"rows.user": self.data.train.counts, "rows.item": self._item_counts}
        return Context(seed=seed, device=device, frequency=counts)

    def model(self, base: Mapping[str, Any], *, seed: int) -> Factorization:
        dim = {**self.base, **base}["dim"]
        if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= WIDEST:
            raise RecipeError(("base", "dim"), f"a whole number from 1 to {WIDEST} must be given, but got {dim!r}.")
        self._check_memory(dim)
        return random_factorization(
            len(self.data.users),
            len(self.data.items),
            dim,
            init_std=INITIAL_RMS,
            fold_in=self.config.fold_in.settings(temperature=self.config.temperature),
            seed=seed,
        )

    def _check_memory(self, dim: int) -> None:
        rows, available = len(self.data.users) + len(self.data.items), memory()
        blocks = max(SOFTMAX_USERS, SCORE_USERS) * len(self.data.items) * 4
        needed = rows * dim * 4 * COPIES + blocks
        if needed > available:
            largest = max(available - blocks, 0) // (rows * 4 * COPIES)
            raise AutopruneError(
                f"task.dim: {len(self.data.users):,} users and {len(self.data.items):,} items x {dim} dimensions x 4 "
                f"bytes x {COPIES} (weights, gradients, Adam's two moments, the best so far) and blocks of scores need "
                f"{needed / 1e9:,.1f} GB, but the machine has {available / 1e9:,.1f} GB. "
                + (f"At most {largest} dimensions fit: lower task.dim and space.base.dim, or" if largest else "Please")
                + " use fewer users and items."
            )

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Leaves widths above the dense model's out of a space: pruning must not enlarge a model."""
        width = recipe.get("base", {}).get("dim") if isinstance(recipe.get("base"), Mapping) else None
        if not isinstance(width, Mapping) or not isinstance(width.get("any_of"), Sequence):
            return dict(recipe)
        dim = self.config.dim
        smaller = [value for value in width["any_of"] if not isinstance(value, int) or value < dim]
        return {**recipe, "base": {**recipe["base"], "dim": {"any_of": [dim, *smaller]}}}

    def stand_in(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same number of principal axes of the dense model."""
        width = base.get("dim", self.config.dim)
        if not 0 < width < self.config.dim:
            return None
        return {"prune": {"dims": {"sparsity": 1 - width / self.config.dim, "importance": "pca"}}}

    def initialize(self, model: Factorization, *, seed: int) -> None:
        """Sets the tables to the leading factors of D_u^-1/2 X D_i^-1/2, each scaled to the same size.

        D holds the counts of interactions. If not all users and items are linked, they are raised by a share of their
        mean. Otherwise each small group without a link to the rest would have a factor of its own, the strongest of all
        (Qin & Rohe 2013, "Regularized Spectral Clustering under the Degree-Corrected Stochastic Blockmodel"). Groups
        with a single link to the rest keep theirs.

        Dimensions beyond the rank of the interactions keep their random weights. Rows of users without interactions are
        set to 0, which is served as the average user: the factors have only rounding errors there, and `settle` would
        magnify them.
        """
        train = self.data.train
        owners, items = train.take(torch.arange(len(train)))
        degree_user, degree_item = (self._degree(counts).rsqrt() for counts in (train.counts, self._item_counts))
        matrix = scipy.sparse.csr_array(
            ((degree_user[owners] * degree_item[items]).numpy(), (owners.numpy(), items.numpy())),
            shape=(len(train), len(self.data.items)),
        )
        user, item = model.tables["user"].weight, model.tables["item"].weight
        rank = min(user.shape[1], min(matrix.shape) - 1)
        start = np.random.default_rng(seed).normal(size=min(matrix.shape))
        left, strength, right = svds(matrix, k=rank, v0=start)
        order = np.argsort(-strength)
        root = np.sqrt(strength[order])
        with torch.no_grad():
            for weight, factor in ((user, left[:, order] * root), (item, right[order].T * root)):
                scale = INITIAL_RMS / max(float(np.sqrt(np.mean(factor**2))), 1e-12)
                weight[:, :rank] = torch.from_numpy(factor * scale).to(weight)
            user[train.counts.to(user.device) == 0] = 0

    def _degree(self, counts: Tensor) -> Tensor:
        """Counts of interactions as they normalise the interactions: float64 [n], above 0."""
        degree = counts.double()
        return degree.clamp_min(1) if self._all_linked else degree + RAISED * degree[degree > 0].mean()

    @cached_property
    def _all_linked(self) -> bool:
        """Whether a chain of training interactions leads from every user and item with any to every other."""
        train = self.data.train
        owners, items = (positions.numpy() for positions in train.take(torch.arange(len(train))))
        size = len(train) + len(self.data.items)
        entries = np.ones(len(items), dtype=np.bool_), (owners, len(train) + items)
        group = connected_components(scipy.sparse.coo_array(entries, shape=(size, size)), directed=False)[1]
        return len(np.unique(group[: len(train)][train.counts.numpy() > 0])) <= 1

    def batches(self) -> Sequence[Tensor]:
        shuffled = self._trainable[torch.randperm(len(self._trainable))]
        return torch.split(shuffled, self.config.users_per_update)

    def loss(self, model: Factorization, batch: Tensor) -> Tensor:
        user, items = model.tables["user"], model.tables["item"].values()
        user_rows = user.rows_of(batch.to(items.device))
        without_row, with_row = (batch[mask.cpu()] for mask in (user_rows < 0, user_rows >= 0))
        owner, rows = self._seen(model, with_row)
        likelihood = self._likelihood(
            model, user.values(user_rows[user_rows >= 0]), items, owner, rows, drawn=self.config.items_per_update
        )
        if len(without_row) and "alpha" not in model.fold_in:  # with alpha a regression serves them: another loss
            likelihood = likelihood + self._fold_in_likelihood(model, items, without_row)
        # Divided by the interactions of a typical batch, so that every interaction has the same weight.
        return -likelihood / max(1.0, len(batch) * len(self.data.train.items) / len(self._trainable))

    def _fold_in_likelihood(self, model: Factorization, items: Tensor, users: Tensor) -> Tensor:
        """The log-likelihood of one part of the items of users without a row, given vectors from the other part."""
        user, item = model.tables["user"], model.tables["item"]
        owner, rows = self._seen(model, users)
        given, targets = folding.parted(owner, count=len(users))
        settled = self.settled(model, "item", items)
        ridge = model.fold_in["ridge"]
        directions = folding.folded(settled, item.row_mask, owner[given], rows[given], count=len(users), ridge=ridge)
        length = user.lengths()[user.row_mask].mean()
        return self._likelihood(model, directions * length, items, owner[targets], rows[targets], drawn=folding.AMONG)

    def _likelihood(
        self, model: Factorization, users: Tensor, items: Tensor, owner: Tensor, rows: Tensor, *, drawn: int
    ) -> Tensor:
        """The log-likelihood of what users have seen, a scalar.

        Removed items, and items that are about to be removed, do not compete.

        Args:
            users, items: rows of the tables, float32 [n, dim] and [items, dim].
            owner, rows: who has seen what: positions in `users` and in `items`, int64 [m] each.
            drawn: about how many items compete: those seen by a user of the batch, and sampled ones; all items if the
                catalogue has no more.
        """
        item = model.tables["item"]
        stays = None if item.row_mask.all() else item.row_mask.nonzero()[:, 0]
        count = len(items) if stays is None else len(stays)
        if stays is not None:
            rows = (item.row_mask.cumsum(0) - 1)[rows]
        user_vectors = self.compared_users(model, users)
        if count > drawn and len(rows):
            sampled, rows, logs = opponents(rows, count, drawn)
            item_vectors = self.compared_items(model, items, sampled if stays is None else stays[sampled])
            return log_likelihood(user_vectors, item_vectors, owner, rows, logs=logs)
        item_vectors = self.compared_items(model, items, None)
        return log_likelihood(user_vectors, item_vectors if stays is None else item_vectors[stays], owner, rows)

    def _seen(self, model: Factorization, users: Tensor) -> tuple[Tensor, Tensor]:
        """What users have seen, without removed items: (position in `users`, row of the item table), int64 [n] each."""
        item = model.tables["item"]
        owner, seen = (positions.to(item.weight.device) for positions in self.data.train.take(users))
        rows = item.rows_of(seen)
        return owner[rows >= 0], rows[rows >= 0]

    def compared_users(self, model: Factorization, users: Tensor) -> Tensor:
        """The vectors whose dot products with `compared_items` are the logits of the softmax, float32 [n, size].

        Args:
            users: rows of the table, float32 [n, dim].
        """
        vectors = normalize(users)
        if model.training and self.config.noise:
            # Noise has no preferred direction, whereas dropout removes single dimensions: after a rotation to principal
            # axes it would remove the one that carries most, and fine-tuning would damage the model.
            spread = self.config.noise / vectors.shape[1] ** 0.5
            vectors = vectors + spread * torch.randn_like(vectors)
        return vectors / self.config.temperature

    def compared_items(self, model: Factorization, items: Tensor, rows: Tensor | None) -> Tensor:
        """The vectors of some items, whose dot products with `compared_users` are the logits, float32 [m, size].

        Args:
            items: rows of the table, float32 [items, dim].
            rows: positions in `items`, int64 [m]; None: all.
        """
        return normalize(items if rows is None else items[rows])

    def settle(self, model: Factorization) -> None:
        for name, table in model.tables.items():
            with torch.no_grad():
                # The mean length of the rows stays: under cosines it sets how far an update turns a row, and a stage
                # that continues training must take steps as small as those the last stage ended with.
                rows, stays = table.weights(), table.row_mask
                settled = self.settled(model, name, rows)
                before, after = rows[stays].norm(dim=1).mean(), settled[stays].norm(dim=1).mean()
                table.weight.copy_(settled * (before / after.clamp_min(1e-12)))

    def settled(self, model: Factorization, name: str, rows: Tensor) -> Tensor:
        """Rows of a table as they are served, up to one common factor: float32 [rows, dim]."""
        settled = normalize(rows)
        if name == "item":
            counts = self._item_counts.to(rows.device)[model.tables["item"].index]
            settled = settled * (counts[:, None] + 1.0) ** self.config.popularity
        return settled

    def beside(self) -> Beside:
        return self._beside

    def parts(self, model: Factorization, runtime: str = "") -> Parts:
        rows = {name: model.tables[name].index.cpu().numpy().tobytes() for name in ("user", "item")}
        ids = {f"ids.{name}": self._encode_ids(name, index) for name, index in rows.items()}
        parts = super().parts(model, runtime)
        return dataclasses.replace(parts, tensors={**parts.tensors, **ids})

    def _encoded_ids(self, name: str, index: bytes) -> np.ndarray[Any, Any]:
        """Encodes the ids at `index` (the bytes of int64 [n]); cached, as it takes longer than all else in `parts`."""
        ids = {"user": self.data.users, "item": self.data.items}[name]
        return ids.take(np.frombuffer(index, dtype=np.int64)).encode()

    def score(self, served: Recommender, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """One row for every (user, target item): columns user, item, rank, popularity, history.

        `user` and `item` are positions; `rank` is infinite beyond the longest cut-off.
        `autoprune.recommender.targets` defines perturbations and asides.
        """
        targets = self._targets[split]
        if perturbation is not None:
            if (split, perturbation) not in self._other_targets:
                self._other_targets[split, perturbation] = targets.asked(perturbation)
            targets = self._other_targets[split, perturbation]
        return self._score(served, targets)

    def _score(self, served: Recommender, targets: Targets) -> pd.DataFrame:
        ranks = []
        for batch in targets.batches(at_once(served.device, 4 * len(self.data.items), usual=SCORE_USERS)):
            ids = None if targets.strangers else self.data.users.take(batch.users.numpy())
            best = torch.from_numpy(served.topk(ids, self.cutoff, histories=batch.known, hidden=batch.hidden))
            hits = best[batch.owner] == batch.wanted[:, None]
            ranks.append(torch.where(hits.any(1), hits.int().argmax(1) + 1.0, torch.inf))
            served.pause()
        return targets.rows.assign(rank=torch.cat(ranks).numpy())

    def validate(self, model: Factorization) -> float:
        served = Recommender(self.parts(model))
        served.pause = self.pause
        return self.metrics[self.metric](self._score(served, self._validate_targets))

    def look(self, served: Recommender, *, closer: bool = False) -> pd.DataFrame:
        """Like `score`, on at least `LOOK_USERS` users of validation (or all); the same for every model."""
        return self._score(served, self._closer_targets if closer else self._look_targets)

    def workloads(self, served: Recommender) -> dict[str, Callable[[], object]]:
        """`single`: the top 20 of one user with ids and titles; `batch`: the positions of the top 20 of 256 users."""
        draw = np.random.default_rng(0)
        users = self.data.evaluable("validation")
        ids = [self.data.users[int(user)] for user in draw.choice(users, size=256, replace=len(users) < 256)]
        turn, period = {"next": 0}, len(ids) - 1  # odd: with every second or fourth request timed, all users get timed

        def single() -> object:
            turn["next"] = (turn["next"] + 1) % period
            return served.recommend(ids[turn["next"]], k=20)

        return {
            "single": single,
            "batch": lambda: served.topk(ids, 20),
        }

    def _make_beside(self) -> Beside:
        histories = self.data.train.joined(self.data.validation).in_numpy()
        return make_beside(users=self.data.users, items=self.data.items, histories=histories, titles=self.data.titles)
