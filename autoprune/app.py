"""The search as a Hydra application: `autoprune key=value …`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from autoprune.config.arguments import check_flags, config_dir, with_config_dir
from autoprune.config.chosen import CONFIG_MODULE, chosen
from autoprune.config.compose import hydra_arguments, require
from autoprune.config.errors import readable_errors
from autoprune.config.sections import beside_configs, sections
from autoprune.fronts.front import Front
from autoprune.overrides import at_home
from autoprune.study.progress.progress import Watching
from autoprune.study.search import search
from autoprune.views.phrases import best
from autoprune.views.terminal import Watch, exit_codes, print_front, terminal


def run(arguments: Sequence[str]) -> None:
    """Runs one study, or with --multirun one for each combination.

    Args:
        arguments: the command line without the program's name.
    """
    folder = config_dir(arguments)
    if folder is not None:
        arguments = with_config_dir(arguments, str(at_home(folder)))
    theirs, requirements = hydra_arguments(arguments)
    check_flags(theirs)

    @hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name="config", version_base="1.3")
    def run_one(config: DictConfig) -> None:
        console = terminal()
        with exit_codes(), readable_errors(), Watch(console) as watch:
            require(config, requirements)
            overrides = [*HydraConfig.get().overrides.task, *requirements]
            content = sections(config)
            if folder is not None:
                content["task"] = beside_configs(content["task"], str(at_home(folder)))
            front = search(
                content,
                overrides,
                config_dir=config_dir(arguments),
                watch=Watching(report=watch.report, working=watch.working, note=watch.note, expect=watch.expect),
            )
        _print_end(console, front)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on, and we print them all alike
    # Hydra writes a record of a sweep; ours is enough
    with tempfile.TemporaryDirectory() as scratch, readable_errors(words=chosen(arguments)):
        sys.argv[1:] = [*theirs, f"hydra.sweep.dir={scratch}"]
        run_one()


def _print_end(console: Console, front: Front) -> None:
    record = front.record
    print_front(console, front)
    if len(front) and front.pick().number:
        pick, show = record.verb("pick", "--to", "DIR"), record.verb("show", "NUMBER")
        explained = f"(takes {best(front)}; any other: {show})"
        console.print(f"\nNext: {pick}    {explained}", highlight=False, markup=False, soft_wrap=True)
