#!/bin/sh
# Searches all-MiniLM-L6-v2 twice, distilling with and without Cranfield's documents, and verifies the finalists on test:
# run.sh DATA, the folder with stsb/, banking77/ and cranfield/; the environment on the path.
set -e
here=$(dirname "$0") data=$1

search() { # NAME TRIALS [--cranfield]
    python "$here/texts.py" "$data" "$1.txt" $3
    autoprune task=encoder task.texts="$1.txt" task.data.pairs="$data/stsb" task.data.retrieval="$data/cranfield" \
        task.data.classification="$data/banking77" requirements=none requirements.spearman.drop=1% \
        requirements.accuracy.drop=2% requirements.ndcg@10.drop=3% study.trials="$2" study.name="$1"
}

search minilm 18 --cranfield
search minilm-without 6
