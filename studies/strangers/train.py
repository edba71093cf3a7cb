r"""What users keep who have no row, once items are trained for them: quality by epochs, and by what competes.

    .venv/bin/python studies/strangers/train.py OUT --task movielens
    .venv/bin/python studies/strangers/train.py OUT --task interactions --data FOLDER --set task.temperature=0.1 \
        --epochs 0 2 5 --among 0 16384

As `measure.py`: 99 % of the users lose their row, and all are asked what they are asked in a search.
"""

from __future__ import annotations

import csv
import sys
import time

from measure import SPLITS, asking, quality, trained, without_users

from autoprune.recommender import folding


def main() -> None:
    """Prints a line for each number of epochs."""
    parser = asking(__doc__)
    parser.add_argument("--epochs", type=int, nargs="+", default=[0, 2, 5, 10])
    parser.add_argument("--among", type=int, nargs="+", default=[folding.AMONG], help="items that compete, about")
    arguments = parser.parse_args()
    task, evaluator, dense = trained(arguments)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("among", "epochs", *SPLITS, "seconds"))
    own = [quality(task, dense, split) for split in SPLITS]
    for folding.AMONG in arguments.among:
        for epochs in arguments.epochs:
            start = time.monotonic()
            model = without_users(dense, task, evaluator, epochs=epochs)
            seconds = time.monotonic() - start
            kept = [quality(task, model, split) / one for split, one in zip(SPLITS, own, strict=True)]
            table.writerow((folding.AMONG, epochs, *(f"{share:.3f}" for share in kept), f"{seconds:.1f}"))


if __name__ == "__main__":
    main()
