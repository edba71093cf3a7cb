#!/bin/sh
# Searches all-MiniLM-L6-v2 for two hours, with texts of the domain, and verifies the finalists on test data:
# run.sh DATA, the folder with stsb/, banking77/ and cranfield/; the environment on the path.
set -e
here=$(dirname "$0") data=$1
python "$here/texts.py" "$data" with.txt --cranfield
autoprune task=encoder task.texts=general,with.txt task.data.pairs="$data/stsb" \
    task.data.retrieval="$data/cranfield" task.data.classification="$data/banking77" \
    requirements=none requirements.quality.drop=2% study.minutes=120 study.name=with
