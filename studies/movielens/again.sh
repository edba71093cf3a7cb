#!/bin/sh
# Judges the table of the README again, without the search.
set -e
autoprune --config-dir "$(dirname "$0")/conf" task=movielens presets=table requirements=none \
    requirements.quality.drop=5% requirements.worst_slice.drop=20% study.trials=0 study.name=movielens-again
autoprune verify movielens-again --all
