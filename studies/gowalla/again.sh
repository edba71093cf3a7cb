#!/bin/sh
# Judges the table of the README again, without the search: again.sh DATA, as run.sh takes it.
set -e
autoprune --config-dir "$(dirname "$0")/conf" task=interactions task.data.path="$1" task.temperature=0.1 \
    space=gowalla presets=table requirements=none requirements.quality.drop=20% \
    'study.objectives=[quality,size]' study.trials=0 study.latency_seconds=0.2 study.name=gowalla-again
autoprune verify gowalla-again --all
