#!/bin/sh
# Searches all-MiniLM-L6-v2 twice, distilling with and without Cranfield's documents, and verifies the finalists on test:
# run.sh DATA, the folder with stsb/, banking77/ and cranfield/; the environment on the path.
set -e
here=$(dirname "$0")
for texts in minilm minilm-without; do
    test "$texts" = minilm && flag=--cranfield trials=18 || { flag=; trials=6; }
    python "$here/texts.py" "$1" "$texts.txt" $flag
    autoprune task=encoder task.texts="$texts.txt" task.data.pairs="$1/stsb" task.data.retrieval="$1/cranfield" \
        task.data.classification="$1/banking77" requirements=none requirements.spearman.drop=1% \
        requirements.accuracy.drop=2% requirements.ndcg@10.drop=3% study.trials=$trials study.name="$texts"
done
