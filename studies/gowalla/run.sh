#!/bin/sh
# Searches Gowalla and verifies the finalists on test: run.sh DATA, the folder with train.txt, valid.txt and test.txt.
set -e
autoprune task=interactions task.data.path="$1" task.temperature=0.1 requirements=none requirements.quality.drop=5% \
    'study.objectives=[quality,size]' study.minutes=45 study.verify_rounds=0 study.latency_seconds=0.2 study.name=gowalla
autoprune verify gowalla --rounds 2
