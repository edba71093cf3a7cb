#!/bin/sh
# Searches the sequential recommender, and verifies on test.
set -e
autoprune --config-dir "$(dirname "$0")/conf" task=sequences requirements=none requirements.quality.drop=5% \
    study.verify_rounds=3 study.name=sequences
