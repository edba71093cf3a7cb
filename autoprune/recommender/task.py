"""The recommender task: matrix factorisation, full ranking, slices by popularity and history."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
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
from autoprune.recommender.loss import SOFTMAX_USERS, log_likelihood
from autoprune.recommender.model import Factorization, random_factorization
from autoprune.recommender.served import Recommender
from autoprune.recommender.targets import ASIDES, PERTURBATIONS, SLICES, Targets
from autoprune.tasks.ranking import longest_list, ranking_metrics
from autoprune.tasks.task import Task

SCORE_USERS = 256
"""Users that a CPU ranks at a time: bounds memory at SCORE_USERS x items x 4 bytes."""

COPIES = 5
"""Of the tables while they train: weights, gradients, Adam's two moments, the best state so far."""

INITIAL_RMS = 0.1
"""Root mean square of the initial weights of each table."""

WATCHED_USERS = 8192
"""Users that `validate` asks while the dense model trains, at most: more would cost as much as the training."""

ENCODED = 32
"""Sets of ids that are kept compressed: recipes of a search often share a cut of rows."""

LOOK_SCORES, LOOK_USERS = 2**23, 4096
"""A look asks no more users than take so many scores (users x items), but at least these: fewer err by more than what
recipes differ in. `Look.errors` says by how much each did."""

CLOSER = 8
"""Times as many users a closer look asks, if there are so many."""


class RecommenderTask(Task[Factorization, Recommender]):
    """Recommends items to users by the dot product of their rows.

    The dense model maximises the multinomial likelihood of each user's items over the whole catalogue (Liang et
    al. 2018, "Variational Autoencoders for Collaborative Filtering") under cosines of a temperature; a part of a large
    catalogue stands for it (Wu et al. 2024, "On the Effectiveness of Sampled Softmax Loss for Item
    Recommendation"). It starts from a truncated SVD of the normalised interactions. The likelihood of seen items says
    too little for popular ones, as rare ones are learned by heart; so items are served at cosine x popularity^power
    (Zhang et al. 2021, "Causal Intervention for Leveraging Popularity Bias in Recommendation"). `settle` folds both
    into the rows: what serves is a plain dot product.
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
        self._asked: dict[tuple[str, str], Targets] = {}
        users = data.evaluable("validation")
        looked = max(LOOK_USERS, LOOK_SCORES // max(len(data.items), 1))
        self._watched, self._looked, self._closer = (
            Targets(data, "validation", np.sort(np.random.default_rng(0).choice(users, most, False)))
            if most < len(users)
            else self._targets["validation"]
            for most in (WATCHED_USERS, looked, CLOSER * looked)
        )
        self.looks_closer = self._closer is not self._looked
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
        for reported_only in ("metrics", "data", "model"):  # data and tables themselves are hashed, wherever they lie
            settings.pop(reported_only, None)
        if len(self.data.items) <= self.config.items_per_update:  # nothing is drawn
            settings.pop("items_per_update")
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
            fold_in=self.config.fold_in.said(temperature=self.config.temperature),
            seed=seed,
        )

    def _check_memory(self, dim: int) -> None:
        rows, there = len(self.data.users) + len(self.data.items), memory()
        blocks = max(SOFTMAX_USERS, SCORE_USERS) * len(self.data.items) * 4
        needed = rows * dim * 4 * COPIES + blocks
        if needed > there:
            fits = max(there - blocks, 0) // (rows * 4 * COPIES)
            raise AutopruneError(
                f"task.dim: {len(self.data.users):,} users and {len(self.data.items):,} items x {dim} dimensions x 4 "
                f"bytes x {COPIES} (weights, gradients, Adam's two moments, the best so far) and blocks of scores take "
                f"{needed / 1e9:,.1f} GB, but the machine has {there / 1e9:,.1f} GB. "
                + (f"At most {fits} dimensions fit: set task.dim and space.base.dim, or" if fits else "Please")
                + " bring fewer users and items."
            )

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Widths beyond that of the dense model are left out of a space: what is pruned is not to grow."""
        width = recipe.get("base", {}).get("dim") if isinstance(recipe.get("base"), Mapping) else None
        if not isinstance(width, Mapping) or not isinstance(width.get("any_of"), Sequence):
            return dict(recipe)
        dim = self.config.dim
        smaller = [one for one in width["any_of"] if not isinstance(one, int) or one < dim]
        return {**recipe, "base": {**recipe["base"], "dim": {"any_of": [dim, *smaller]}}}

    def stand_in(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """As many principal axes of the dense model."""
        width = base.get("dim", self.config.dim)
        if not 0 < width < self.config.dim:
            return None
        return {"prune": {"dims": {"sparsity": 1 - width / self.config.dim, "importance": "pca"}}}

    def initialize(self, model: Factorization, *, seed: int) -> None:
        """Sets the tables to the leading factors of D_u^-1/2 X D_i^-1/2, each scaled to the same size.

        Dimensions beyond the rank of the interactions keep their random weights.
        """
        train = self.data.train
        owners, items = train.take(torch.arange(len(train)))
        degree_user = train.counts.clamp_min(1).double().rsqrt()
        degree_item = self._item_counts.clamp_min(1).double().rsqrt()
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

    def batches(self) -> Sequence[Tensor]:
        shuffled = self._trainable[torch.randperm(len(self._trainable))]
        return torch.split(shuffled, self.config.users_per_update)

    def loss(self, model: Factorization, batch: Tensor) -> Tensor:
        user, items = model.tables["user"], model.tables["item"].values()
        places = user.rows_of(batch.to(items.device))
        gone, there = (batch[which.cpu()] for which in (places < 0, places >= 0))
        owner, rows = self._seen(model, there)
        likelihood = self._likelihood(
            model, user.values(places[places >= 0]), items, owner, rows, drawn=self.config.items_per_update
        )
        if len(gone) and "alpha" not in model.fold_in:  # where a regression serves them, its loss is another one
            likelihood = likelihood + self._guessed(model, items, gone)
        # Divided by a typical batch's interactions, so that users count by what they did.
        return -likelihood / max(1.0, len(batch) * len(self.data.train.items) / len(self._trainable))

    def _guessed(self, model: Factorization, items: Tensor, users: Tensor) -> Tensor:
        """The log-likelihood of a part of the items of users without a row, who are found by the rest of them."""
        user, item = model.tables["user"], model.tables["item"]
        owner, rows = self._seen(model, users)
        told, guessed = folding.parted(owner, count=len(users))
        settled = self.settled(model, "item", items)
        ridge = model.fold_in["ridge"]
        found = folding.folded(settled, item.row_mask, owner[told], rows[told], count=len(users), ridge=ridge)
        lengths = user.lengths()[user.row_mask].mean()
        return self._likelihood(model, found * lengths, items, owner[guessed], rows[guessed], drawn=folding.AMONG)

    def _likelihood(
        self, model: Factorization, users: Tensor, items: Tensor, owner: Tensor, rows: Tensor, *, drawn: int
    ) -> Tensor:
        """The log-likelihood of what users have seen, a scalar.

        Items that are gone, or about to go, do not compete.

        Args:
            users, items: as tables have them, float32 [n, dim] and [items, dim].
            owner, rows: who has seen what: positions in `users` and in `items`, int64 [m] each.
            drawn: items that compete, about: those that anybody has seen, and others; all if there are no more.
        """
        item = model.tables["item"]
        user_vectors, item_vectors = self.compared(model, users, items)
        if not item.row_mask.all():
            rows = (item.row_mask.cumsum(0) - 1)[rows]
            item_vectors = item_vectors[item.row_mask]
        return log_likelihood(user_vectors, item_vectors, owner, rows, drawn=drawn)

    def _seen(self, model: Factorization, users: Tensor) -> tuple[Tensor, Tensor]:
        """What users have seen: (position in `users`, row of the item table) of items that stand, int64 [n] each."""
        item = model.tables["item"]
        owner, seen = (held.to(item.weight.device) for held in self.data.train.take(users))
        rows = item.rows_of(seen)
        return owner[rows >= 0], rows[rows >= 0]

    def compared(self, model: Factorization, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """What the softmax is taken of: vectors of users and of all items whose dot products are the logits.

        Args:
            users, items: as tables have them, float32 [n, dim] and [items, dim].

        Returns:
            float32 [n, size] and [items, size].
        """
        user_vectors, item_vectors = normalize(users), normalize(items)
        if model.training and self.config.noise:
            # The same in every direction, where dropout hits single dimensions: after a turn to principal axes
            # dropout would hit the one that carries most, and fine-tuning would undo the model.
            spread = self.config.noise / user_vectors.shape[1] ** 0.5
            user_vectors = user_vectors + spread * torch.randn_like(user_vectors)
        return user_vectors / self.config.temperature, item_vectors

    def settle(self, model: Factorization) -> None:
        for name, table in model.tables.items():
            with torch.no_grad():
                # At the mean length as it was: under cosines the length of a row sets how far an update turns it,
                # and a stage that trains on must go on as carefully as the last one ended.
                rows, stays = table.weights(), table.row_mask
                settled = self.settled(model, name, rows)
                before, after = rows[stays].norm(dim=1).mean(), settled[stays].norm(dim=1).mean()
                table.weight.copy_(settled * (before / after.clamp_min(1e-12)))

    def settled(self, model: Factorization, name: str, rows: Tensor) -> Tensor:
        """Rows of a table as they serve, but for one factor for all: float32 [rows, dim]."""
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
        found = super().parts(model, runtime)
        return dataclasses.replace(found, tensors={**found.tensors, **ids})

    def _encoded_ids(self, name: str, index: bytes) -> np.ndarray[Any, Any]:
        """The ids of some rows (the bytes of int64 [n]): compressing takes longer than all else that `parts` does."""
        ids = {"user": self.data.users, "item": self.data.items}[name]
        return ids.take(np.frombuffer(index, dtype=np.int64)).encode()

    def score(self, served: Recommender, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """One row for every (user, target): columns user, item, rank, popularity, history.

        `user` and `item` are positions; `rank` is infinite beyond the longest cut-off. Perturbations and asides are
        those of `autoprune.recommender.targets`.
        """
        targets = self._targets[split]
        if perturbation is not None:
            if (split, perturbation) not in self._asked:
                self._asked[split, perturbation] = targets.asked(perturbation)
            targets = self._asked[split, perturbation]
        return self._score(served, targets)

    def _score(self, served: Recommender, targets: Targets) -> pd.DataFrame:
        ranks, step = [], at_once(served.device, 4 * len(self.data.items), usual=SCORE_USERS)
        for start in range(0, len(targets.users), step):
            batch = targets.users[start : start + step]
            ids = None if targets.strangers else self.data.users.take(batch.numpy())
            known = targets.known.of_users(batch)
            hidden = known if targets.known is targets.seen else targets.seen.of_users(batch)
            best = torch.from_numpy(served.topk(ids, self.cutoff, histories=known, hidden=hidden))
            owner, wanted = targets.wanted.take(batch)
            found = best[owner] == wanted[:, None]
            ranks.append(torch.where(found.any(1), found.int().argmax(1) + 1.0, torch.inf))
            served.pause()
        return targets.rows.assign(rank=torch.cat(ranks).numpy())

    def validate(self, model: Factorization) -> float:
        served = Recommender(self.parts(model))
        served.pause = self.pause
        return self.metrics[self.metric](self._score(served, self._watched))

    def look(self, served: Recommender, *, closer: bool = False) -> pd.DataFrame:
        """As `score`, by `LOOK_USERS` users of validation or more, the same for every model."""
        return self._score(served, self._closer if closer else self._looked)

    def workloads(self, served: Recommender) -> dict[str, Callable[[], object]]:
        """`single`: one user, top 20, with ids and titles; `batch`: the positions of 256 users' top 20."""
        draw = np.random.default_rng(0)
        users = self.data.evaluable("validation")
        ids = [self.data.users[int(user)] for user in draw.choice(users, size=256, replace=len(users) < 256)]
        turn, alone = {"next": 0}, len(ids) - 1  # odd, as every second or fourth request is timed

        def single() -> object:
            turn["next"] = (turn["next"] + 1) % alone
            return served.recommend(ids[turn["next"]], k=20)

        return {
            "single": single,
            "batch": lambda: served.topk(ids, 20),
        }

    def _make_beside(self) -> Beside:
        known = self.data.train.joined(self.data.validation)
        titles = self.data.titles
        return make_beside(users=self.data.users, items=self.data.items, histories=known.in_numpy(), titles=titles)
