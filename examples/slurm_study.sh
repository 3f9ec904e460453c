#!/bin/bash
# A study on SLURM: an array with one task per run, then one job for the report.
#
#   examples/slurm_study.sh examples/table1_gpu_rmts.yaml /shared/table1-rmts --gpus=1 --time=1:00:00
#
# GRID, then the folder of the study on a disk that all machines share, then options of sbatch. A task does the cells of
# its run in their order, each by `relvit study run --cell`; finished ones are skipped, so the same line goes on with
# what is missing. RELVIT_OPTIONS holds further options of `relvit study`, such as "--backbone openai/clip-vit-base-patch16".
set -euo pipefail

rows() { # number, run: one line per cell
    relvit study plan "$GRID" --out "$OUT" --json ${RELVIT_OPTIONS:-} |
        python -c 'import json, sys; [print(row["number"], row["run"]) for row in json.load(sys.stdin)["cells"]]'
}

run_task() { # the cells of run number SLURM_ARRAY_TASK_ID, from 1
    local run number name
    run=$(rows | awk '!seen[$2]++ { print $2 }' | sed -n "${SLURM_ARRAY_TASK_ID}p")
    rows | while read -r number name; do
        if [ "$name" = "$run" ]; then
            relvit study run "$GRID" --out "$OUT" --cell "$number" ${RELVIT_OPTIONS:-} </dev/null
        fi
    done
}

submit() {
    local runs array
    relvit study plan "$GRID" --out "$OUT" ${RELVIT_OPTIONS:-} | sed -n 1p
    runs=$(rows | awk '!seen[$2]++' | wc -l)
    array=$(sbatch --parsable --array="1-$runs" --job-name=relvit "$@" "$0" task "$GRID" "$OUT")
    sbatch --dependency="afterok:$array" --job-name=relvit-report "$0" report "$GRID" "$OUT"
}

case ${1:-} in
task | report) mode=$1 && shift ;;
*) mode=submit ;;
esac
GRID=${1:?GRID} OUT=${2:?folder of the study}
shift 2
case $mode in
submit) submit "$@" ;;
task) run_task ;;
report) relvit study run "$GRID" --out "$OUT" ${RELVIT_OPTIONS:-} ;;
esac
