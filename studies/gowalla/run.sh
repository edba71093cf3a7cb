#!/bin/sh
# Searches Gowalla and verifies the finalists on test: run.sh DATA, the folder with train.txt, valid.txt and test.txt.
set -e
autoprune task=interactions task.data.path="$1" task.temperature=0.1 requirements=none requirements.quality.drop=20% \
    'study.objectives=[quality,size]' study.minutes=55 study.latency_seconds=0.2 study.name=gowalla
