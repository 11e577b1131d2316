#!/usr/bin/env bash
# What needs an accelerator, in order of worth: the tests marked gpu, then UDP against PGD at equal
# time. Every part is resumable (runs/gpu); rows go to $OUT, or to benchmarks/results.
#
#   SECONDS_EACH=90 PARTS="cifar10_train_1of5.npz cifar10_train_2of5.npz" bash benchmarks/gpu.sh
#
# Rehearse on a CPU with MORE="--width 2 --count 256 --images 4" SECONDS_EACH=3.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
data=${SUREFOOT_DATA:-../shared/data}
results=${OUT:-benchmarks/results}/gpu.jsonl
only=${ONLY:-tests,train}

case $only in *tests*)
    timeout 150 "$python" -m pytest -q -o addopts="" -m gpu -p no:cacheprovider tests/test_gpu.py
    ;;
esac
train=()
for part in ${PARTS:-cifar10_train_1of5.npz cifar10_train_2of5.npz}; do train+=("$data/$part"); done
case $only in *train*)
    "$python" benchmarks/gpu.py --train "${train[@]}" --test "$data/${TEST:-cifar10_test.npz}" \
        --results "$results" --seconds "${SECONDS_EACH:-90}" ${MORE:-}
    ;;
esac
