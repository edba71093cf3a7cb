"""Where the command line begins: help, a verb, or a search."""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings
from importlib import resources
from pathlib import Path

from autoprune.cli.options import run_verb
from autoprune.cli.verbs import VERBS
from autoprune.errors import AutopruneError, doing, nearest
from autoprune.version import VERSION
from autoprune.views.terminal import exit_codes

HELP = """\
autoprune: search for the smallest and fastest form of an embedding model that is still good enough.

Search (any key can be set; `autoprune --cfg job` prints the whole config):

  autoprune task=movielens                                        the defaults: at most 3 % of quality may be lost
  autoprune task=movielens requirements=latency_sensitive study.minutes=30 study.name=fast
  autoprune task=interactions task.data.path=ratings.csv          your data: .csv, .tsv, .inter, .parquet, a folder
  autoprune task=interactions 'task.data.path=~/my ratings (1).csv'   quotes only for the shell; ~ is your home folder
  autoprune task=movielens space.prune.epochs=0 'space.prune.method.choose.dims.sparsity.float=[0.5,0.9]'
  autoprune task=movielens requirements.quality.drop=3% requirements.size_bytes.max=0.2x
  autoprune task=encoder task.texts=corpus.txt                    a sentence encoder, on your own texts
  autoprune task=stsb task.data.path=stsb/ requirements.quality.drop=1%
  autoprune task=reranker task.model=my_reranker/                 a cross-encoder, judged by its ranking
  autoprune task=vectors task.vectors=items.npy                   vectors with neighbours; task=words: word vectors
  autoprune task=module task.file=my_task.py                      your own nn.Module, see docs/own_model.md
  autoprune --multirun task=movielens requirements=accuracy_critical,latency_sensitive study.seed=1,2

  A search measures the dense model, looks at thousands of untrained recipes (study.looks), measures presets and the
  best recipes, trains the most promising (study.trials), and verifies the front on test data. It stops by itself.
  The same command resumes a stopped study. study.looks=0 skips the looks, study.trials=0 the training.

{groups}
  executor.*     with executor=ray: address, cpus, gpus, retries
  study.*        name, looks, trials, minutes, workers, seed, objectives, sampler, latency_seconds, verify_rounds,
                 device, dir, storage, artifacts_gb
  --config-dir   your own folder with space/, requirements/ …, in addition to the shipped ones

Look and choose:

  autoprune front STUDY                                           the Pareto front, and what each profile picks
  autoprune front STUDY --floor ndcg@20=0.97x --max latency_ms=0.5x   under other limits; nothing is trained
  autoprune front STUDY --sort size --all                         also looks beyond it (--csv, --json: for programs)
  autoprune verify STUDY [--rounds 5]                             measure the front again: test data, longer timing
  autoprune show STUDY NUMBER                                     one candidate: recipe, measurements, margins
  autoprune compare STUDY STUDY                                   two searches of one task: which front beats which
  autoprune pick STUDY --for PROFILE --to DIR                     copy the best artifact, with a model card
  autoprune pick STUDY --format sentence-transformers --to DIR    the best that stock sentence-transformers loads
  autoprune report STUDY                                          one HTML file with interactive plots, offline
  autoprune pick STUDY --format faiss --to DIR                    also numpy, safetensors, parquet, onnx, word2vec …
  autoprune record STUDY --to DIR                                 save the results: study.yaml, front.csv, front.png
  autoprune dashboard STUDY                                       the candidates (no looks) in optuna-dashboard
  autoprune cache [--clear]                                       show the caches and their sizes, or delete them
  python -c "import autoprune; print(autoprune.load('DIR').recommend(user=42, k=10))"

Help of a verb: autoprune front --help.  Hydra's own help: autoprune --hydra-help.
"""

SPELLED = {"±": "~", "×": "x", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "–": "-", "·": "."}
"""Replacements for characters that the encoding of the output lacks."""


def main() -> None:
    """Entry point: exits with 0, with 2 after an error that the user can fix, with 130 after Ctrl-C."""
    _open_streams()
    try:
        with exit_codes(), warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # other libraries write them for their own authors
            _answer(sys.argv[1:])
            with doing("the output cannot be written"):
                sys.stdout.flush()
    finally:
        _close_streams()


def _answer(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(HELP.replace("{groups}", _groups()))
    elif arguments[0] == "--version":
        sys.stdout.write(f"autoprune {VERSION}\n")
    elif arguments[0] in VERBS:
        run_verb(VERBS[arguments[0]], arguments[1:])
    elif arguments[0].startswith(("-", "~", "+")) or "=" in arguments[0]:
        from autoprune.app import run  # here, because importing all that a search needs takes seconds

        run(arguments)
    else:
        near = nearest(arguments[0], VERBS)
        raise AutopruneError(f"{arguments[0]!r} is neither a verb nor key=value. {near} See autoprune --help.")


def _open_streams() -> None:
    """Replaces characters that cannot be encoded; writes to /dev/null instead of a closed stream."""
    codecs.register_error("autoprune", _spelled)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: the next opened file must not take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # open as long as the process runs
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="autoprune")


def _close_streams() -> None:
    """Drops output that nobody reads any more; Python would complain about it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), stream.fileno())


def _spelled(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError), "streams of output alone use it"
    unencodable = error.object[error.start : error.end]
    spelled = (SPELLED.get(one) or one.encode("ascii", "backslashreplace").decode() for one in unencodable)
    return "".join(spelled), error.end


def _groups() -> str:
    """A line for each folder of conf/ with several files: its name and the files to choose from."""
    files = {
        folder.name: sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
        for folder in resources.files("autoprune.conf").iterdir()
        if folder.is_dir()
    }
    groups = {name: options for name, options in sorted(files.items()) if len(options) > 1}
    return "\n".join(f"  {name:<14} {' | '.join(options)}" for name, options in groups.items())
