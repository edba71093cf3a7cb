"""What it costs to answer the first request: whole processes, from their start to their end, median of several.

    python studies/serving/measure.py deploy/ encoder/ > studies/serving/results.csv

Each argument is the folder of an artifact. A process starts, loads it and answers once. Of an encoder of the runtime
`onnx` the same file is also asked by onnxruntime and tokenizers alone, and the runtime is imported without asking it.
All ways take turns, so that the machine's mood hits them alike. Needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RECOMMENDER = "import autoprune; m = autoprune.load({folder!r}{prefer}); m.recommend(m.users[0], k=10)"
VECTORS = "import autoprune; m = autoprune.load({folder!r}{prefer}); m.most_similar(m.ids[0], k=10)"
ENCODER = "import autoprune; m = autoprune.load({folder!r}{prefer}); m.encode('a text of a few words')"
RUNTIME = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime, tokenizers, numpy"
BARE = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime, tokenizers
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0)) if not os.environ.get("OMP_NUM_THREADS") else 1
session = onnxruntime.InferenceSession({folder!r} + "/model/model.onnx", options, providers=["CPUExecutionProvider"])
read = tokenizers.Tokenizer.from_file({folder!r} + "/model/tokenizer.json").encode("a text of a few words")
ids = numpy.array([read.ids], dtype=numpy.int64)
session.run(["sentence_embedding"], {{"input_ids": ids, "attention_mask": numpy.ones_like(ids)}})
"""


def ways(folder: Path) -> dict[str, str]:
    """Python that answers once from an artifact, by the name of the way."""
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    code = {"recommender": RECOMMENDER, "vectors": VECTORS, "encoder": ENCODER}[manifest["kind"]]
    told = {"": "", ", prefer latency": ", prefer='latency'", ", prefer memory": ", prefer='memory'"}
    found = {f"autoprune{name}": code.format(folder=str(folder), prefer=prefer) for name, prefer in told.items()}
    if manifest.get("runtime") == "onnx":
        found |= {"runtime alone": BARE.format(folder=str(folder)), "runtime, not asked": RUNTIME}
    return {"numpy, not asked": "import numpy", **found}


def measured(code: str) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of processors, and MB of the largest resident memory of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"this failed: {code}")
    unit = 1024 if sys.platform == "darwin" else 1
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / unit / 1024


def main() -> None:
    """Prints a line for each way of each artifact."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="ARTIFACT")
    parser.add_argument("--times", type=int, default=5, help="processes of each way, beside one that fills caches")
    given = parser.parse_args()
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["artifact", "model_kb", "way", "seconds", "processor_seconds", "resident_mb"])
    for folder in given.folders:
        size = sum(path.stat().st_size for path in (folder / "model").iterdir())
        codes = ways(folder)
        found = [{name: measured(code) for name, code in codes.items()} for _ in range(given.times + 1)][1:]
        for name in codes:
            taken = zip(*(one[name] for one in found), strict=True)
            wall, processor, memory = (statistics.median(values) for values in taken)
            rows.writerow([folder.name, round(size / 1e3), name, f"{wall:.3f}", f"{processor:.3f}", f"{memory:.1f}"])
            sys.stdout.flush()


if __name__ == "__main__":
    main()
