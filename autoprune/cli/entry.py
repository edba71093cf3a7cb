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

Search (every key can be set; what is composed: autoprune --cfg job):

  autoprune task=movielens                                        the defaults: 3 % of quality may go; stops by itself
  autoprune task=movielens requirements=latency_sensitive study.minutes=30 study.name=fast
  autoprune task=interactions task.data.path=ratings.csv          your own: .csv, .tsv, .inter, .parquet, a folder
  autoprune task=interactions 'task.data.path=~/my ratings (1).csv'   quotes for the shell alone; ~ is your home
  autoprune task=movielens space.prune.epochs=0 'space.prune.method.choose.dims.sparsity.float=[0.5,0.9]'
  autoprune task=movielens requirements.quality.drop=3% requirements.size_bytes.max=0.2x
  autoprune task=encoder task.texts=corpus.txt                    a sentence encoder, on texts of your own
  autoprune task=stsb task.data.path=stsb/ requirements.quality.drop=1%
  autoprune task=reranker task.model=my_reranker/                 a cross-encoder, by the order that it gives
  autoprune task=vectors task.vectors=items.npy                   vectors with neighbours; task=words: word vectors
  autoprune task=module task.file=my_task.py                      an nn.Module of your own, see docs/own_model.md
  autoprune --multirun task=movielens requirements=accuracy_critical,latency_sensitive study.seed=1,2

  It measures the dense model, looks at thousands of untrained recipes (study.looks), measures presets and the best that
  it found, trains the most promising (study.trials), and verifies the front on test data. It stops by itself.
  The same command resumes a study that was stopped; study.looks=0 leaves the looks out, study.trials=0 the training.

{groups}
  executor.*     of executor=ray: address, cpus, gpus, retries
  study.*        name, looks, trials, minutes, workers, seed, objectives, sampler, latency_seconds, verify_rounds,
                 device, dir, storage, artifacts_gb
  --config-dir   a folder of your own with space/, requirements/ … beside the shipped ones

Look and choose:

  autoprune front STUDY                                           the Pareto front, with what profiles would pick
  autoprune front STUDY --floor ndcg@20=0.97x --max latency_ms=0.5x   under other limits: nothing is trained
  autoprune front STUDY --sort size --all                         and looks beyond it (--csv, --json: for programs)
  autoprune verify STUDY [--rounds 5]                             measure the front again, on test data, timed longer
  autoprune show STUDY NUMBER                                     one candidate: recipe, measurements, margins
  autoprune compare STUDY STUDY                                   two searches of one task: whose front beats whose
  autoprune pick STUDY --for PROFILE --to DIR                     copy the artifact that fits best, with a model card
  autoprune pick STUDY --format sentence-transformers --to DIR    the best that stock sentence-transformers loads
  autoprune report STUDY                                          one HTML file to look at the front in, offline
  autoprune pick STUDY --format faiss --to DIR                    also numpy, safetensors, parquet, onnx, word2vec …
  autoprune record STUDY --to DIR                                 keep what was found: study.yaml, front.csv, front.png
  autoprune dashboard STUDY                                       the candidates (no looks) in optuna-dashboard
  autoprune cache [--clear]                                       what is kept so that nothing is computed twice
  python -c "import autoprune; print(autoprune.load('DIR').recommend(user=42, k=10))"

Each verb explains itself: autoprune front --help.  Hydra's own help: autoprune --hydra-help.
"""

SPELLED = {"±": "~", "×": "x", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "–": "-", "·": "."}
"""What we print, where the encoding of the output lacks it."""


def main() -> None:
    """Entry point: exits with 0, with 2 for what a person can mend, with 130 after Ctrl-C."""
    _open_streams()
    try:
        with exit_codes(), warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # other libraries' talk to their own authors
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
        from autoprune.app import run  # here, because it takes seconds to import all that a search needs

        run(arguments)
    else:
        near = nearest(arguments[0], VERBS)
        raise AutopruneError(f"{arguments[0]!r} is neither a verb nor key=value. {near} autoprune --help explains.")


def _open_streams() -> None:
    """What cannot be encoded is spelled; what is closed is as good as /dev/null."""
    codecs.register_error("autoprune", _spelled)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: the next file that is opened must not take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="autoprune")


def _close_streams() -> None:
    """Leaves nothing to be flushed to whoever does not listen any more, of which Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), stream.fileno())


def _spelled(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError), "streams of output alone use it"
    unknown = error.object[error.start : error.end]
    return "".join(SPELLED.get(one) or one.encode("ascii", "backslashreplace").decode() for one in unknown), error.end


def _groups() -> str:
    """The folders of conf/ that a word on the command line chooses from, a line each."""
    found = {
        folder.name: sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
        for folder in resources.files("autoprune.conf").iterdir()
        if folder.is_dir()
    }
    chosen = {name: options for name, options in sorted(found.items()) if len(options) > 1}
    return "\n".join(f"  {name:<14} {' | '.join(options)}" for name, options in chosen.items())
