"""How far looks are from measurements in a finished study, and how far once other candidates of their kin are measured.

    python studies/closer_looks/kin.py runs/STUDY

For looks and closer looks, untrained and trained, and each main metric: the root mean square of what a look foretold
less what was measured on all of validation, as a share of the dense model's; of all candidates that have measured kin.
Kin differ in their codes alone. Each candidate is left out in turn, and read by the others.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import parse_requirements
from autoprune.measure.measurement import WHOLE, Measurement
from autoprune.recipes.space import Space
from autoprune.record.looks import Look
from autoprune.record.record import Record
from autoprune.study.sampling.choices import Choices


def main() -> None:
    """Prints a line for each kind of look and metric."""
    record = Record(Path(sys.argv[1]))
    content, archive = record.definition, record.archive
    assert archive.baseline is not None, "the study has a dense model"
    dense = archive.baseline.latest()
    choices = Choices(Space(content["space"]), base={})
    measured = {key: one.latest() for key, one in archive.candidates.items()}
    beside: Promises | None = None
    for name, looks in (("looks", record.looks), ("closer looks", record.closer_looks)):
        if looks.dense is None:
            continue
        beside = promises = Promises(
            looks.dense,
            baseline=dense,
            metrics=list(looks.dense.quality),
            requirements=parse_requirements(content["requirements"]),
            objectives=record.objectives,
            beside=beside,
        )
        promises.add(*looks.found.values())
        kin = {look.key: choices.uncoded(look.recipe) for look in promises.looks}
        for trained in (False, True):
            known = [look for look in promises.looks if look.number and look.done and look.key in measured]
            judged = [look for look in known if bool(look.epochs) == trained]
            for metric, off in missed(promises, judged, measured, kin).items():
                before, after = np.sqrt(np.mean(np.square(off), axis=0))
                print(f"{name}, {'' if trained else 'un'}trained: {metric}, {len(off)}: {before:.4f}, then {after:.4f}")


def missed(
    promises: Promises, judged: Sequence[Look], measured: Mapping[str, Measurement], kin: Mapping[str, str]
) -> dict[str, list[tuple[float, float]]]:
    """By metric, for each look that has measured kin: foretold less measured, without and with what kin tell."""
    found: dict[str, list[tuple[float, float]]] = {}
    for look in judged:
        others = {one.key: measured[one.key] for one in judged if one is not look}
        if kin[look.key] in {kin[key] for key in others}:
            read = promises.corrected(others, kin=lambda one: kin[one.key])
            for metric, values in measured[look.key].quality.items():
                if metric in promises.dense.quality:
                    share = values[WHOLE] / measured[promises.dense.key].quality[metric][WHOLE]
                    pair = tuple(by.readings(look)[metric].ratio - share for by in (promises, read))
                    found.setdefault(metric, []).append(pair)
    return found


if __name__ == "__main__":
    main()
