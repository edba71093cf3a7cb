#!/bin/sh
# Makes a cross-encoder and measures what codes do to its order: run.sh DATA; DATA is a folder with stsb/ and
# cranfield/, the environment is on the path. About ten minutes of two cores.
set -e
here=$(dirname "$0")
python "$here/finetune.py" "$1" reranker
python "$here/measure.py" reranker
