"""The search as a Hydra application: `autoprune key=value …`."""

from __future__ import annotations

import os

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from autoprune.config import CONFIG_MODULE, readable_errors, search
from autoprune.display import Watch, exit_codes, print_front


def run() -> None:
    """Runs what sys.argv asks for; Hydra's errors become ours."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, who print them in one way
    with readable_errors():
        run_search()


@hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name="config", version_base="1.3")
def run_search(config: DictConfig) -> None:
    """Runs one study; Hydra calls it once, or once a job under --multirun."""
    console = Console()
    with exit_codes(), Watch(console) as watch:
        record = search(config, HydraConfig.get().overrides.task, report=watch.report, working=watch.working)
    print_front(console, record.front())
    console.print(
        f"\nNext: autoprune pick {record.name} --to DIR    (or: autoprune show {record.name} NUMBER)", highlight=False
    )
