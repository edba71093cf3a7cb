#!/bin/sh
# Searches MovieLens latest-small, with smaller dense models as presets, and verifies on test.
set -e
autoprune task=movielens requirements=none requirements.quality.drop=5% requirements.worst_slice.drop=20% \
    '+presets.dense_48={base:{dim:48}}' '+presets.dense_32={base:{dim:32}}' \
    '+presets.dense_24={base:{dim:24}}' '+presets.dense_16={base:{dim:16}}' \
    study.name=movielens
