#!/bin/sh
# Searches Gowalla and verifies the finalists on test: run.sh DATA, the folder with train.txt, valid.txt and test.txt.
set -e
autoprune --config-dir "$(dirname "$0")/conf" task=interactions task.data.path="$1" task.temperature=0.1 \
    space=gowalla presets=gowalla requirements=none requirements.quality.drop=20% \
    'study.objectives=[quality,size]' study.minutes=50 study.latency_seconds=0.2 study.name=gowalla
autoprune verify gowalla --floor quality=0.9x
