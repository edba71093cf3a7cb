#!/bin/sh
# Searches the click model, and verifies on test.
set -e
autoprune --config-dir "$(dirname "$0")/conf" task=clicks requirements=none requirements.quality.drop=0.5% \
    requirements.worst_slice.drop=2% study.verify_rounds=3 study.name=clicks
