#!/usr/bin/env bash
# Everything that needs a GPU, in one command and under nine minutes: the tests marked gpu, the
# checks of every CUDA implementation, a short self-test of the harness, and the benchmark.
#
#   scripts/on_gpu.sh [--device cuda] [--impl NAME,NAME] [--rehearse] [FOLDER]
#
# FOLDER, results/gpu unless given, then holds gpu.json with its plots in gpu/, selftest.json and
# log.txt. Every part has a time of its own, after which it is ended and what it has done is kept;
# the parts that failed are named at the end. Exit status: 0 all went well, 1 a part failed, 2 bad
# arguments.
#
# --rehearse goes the whole way in little: small networks, few calls, and the saved self-test shown
# in place of a new one. With --device cpu it needs no GPU.
#
# Environment: PYTHON, the interpreter; TESTS_SECONDS, CHECK_SECONDS, COMPILING_SECONDS (of the
# check of what compiles for long), SELFTEST_SECONDS and BENCHMARK_SECONDS, how long each part may
# take.
set -uo pipefail

tests_seconds=${TESTS_SECONDS:-100}
check_seconds=${CHECK_SECONDS:-60}
compiling_seconds=${COMPILING_SECONDS:-60}
selftest_seconds=${SELFTEST_SECONDS:-130}
benchmark_seconds=${BENCHMARK_SECONDS:-170}
show_seconds=15

refuse() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

device=cuda names='' rehearse='' folder=''
while (($#)); do
    case $1 in
        --device)
            (($# > 1)) || refuse '--device needs a name, such as cuda or cuda:1'
            device=$2
            shift
            ;;
        --impl)
            (($# > 1)) || refuse '--impl needs a comma list of names; see python -m bench list'
            names=$2
            shift
            ;;
        --rehearse) rehearse=yes ;;
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
            exit 0
            ;;
        -*) refuse "unknown option $1; see --help" ;;
        *)
            [[ -z $folder ]] || refuse "one folder, not two: $folder and $1"
            folder=$1
            ;;
    esac
    shift
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 2
folder=${folder:-$root/results/gpu}
[[ ! -e $folder/gpu.json ]] || refuse "$folder has a gpu.json already; give another folder"
mkdir -p "$folder" || refuse "cannot make the folder $folder"
folder=$(cd "$folder" && pwd) || exit 2
cd "$root" || exit 2

python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python3
log=$folder/log.txt
: > "$log" || refuse "cannot write $log"

say() {
    printf '%s\n' "$*" | tee -a "$log"
}

failed=()

# part NAME SECONDS COMMAND...: its output goes to the log too; interrupted when its time is over,
# so that it saves what it has.
part() {
    local name=$1 seconds=$2 status
    shift 2
    say "== $name, at most $seconds s"
    SECONDS=0
    timeout --signal=INT --kill-after=10 "$seconds" "$@" 2>&1 | tee -a "$log"
    status=${PIPESTATUS[0]}
    case $status in
        0) say "== $name: done in $SECONDS s" ;;
        124 | 137)
            say "== $name: not done in $seconds s"
            failed+=("$name (not done in $seconds s)")
            ;;
        *)
            say "== $name: exit status $status after $SECONDS s"
            failed+=("$name (exit status $status)")
            ;;
    esac
}

if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv 2>&1 | tee -a "$log"
fi
sorted=$("$python" -c '
import sys
import bench.cli  # here, lest every part fails for want of a package
from impls import REGISTRY
every = [name for name, entry in REGISTRY.items() if "cuda" in entry.devices]
names = sys.argv[1].split(",") if sys.argv[1] else every
slow = [name for name in names if name in REGISTRY and REGISTRY[name].compiles]
for some in (names, [name for name in names if name not in slow], slow):
    print(",".join(some))
' "$names") || refuse "$python cannot import this project; set PYTHON"
{ read -r names; read -r others; read -r slow; } <<< "$sorted"
say "$names on $device"

size=() sampling=(--preset quick --time-budget "$((benchmark_seconds / 2))")
selftest=(--runs 2 --pairs 4 --output "$folder/selftest.json" --overwrite)
if [[ $rehearse ]]; then
    size=(--hidden-size 8)
    sampling=(--steps 20 --processes 1 --rounds 1 --batch-size '1,2')
    selftest=(--show results/reference/selftest.json)
fi

# A file of tests may want a package that nobody needs here: the others go on without it.
part tests "$tests_seconds" "$python" -m pytest -q -rsfE -p no:cacheprovider -m gpu --durations 15 \
    --continue-on-collection-errors
# A check that is ended tells nothing of what it has done: what takes long must not end the others.
if [[ $others ]]; then
    part check "$check_seconds" "$python" -m bench check --impl "$others" --device "$device" \
        "${size[@]}"
fi
if [[ $slow ]]; then
    part 'check of what compiles' "$compiling_seconds" "$python" -m bench check --impl "$slow" \
        --device "$device" "${size[@]}"
fi
# On the CPU whatever the device: there its true ratio is known.
part selftest "$selftest_seconds" "$python" -m bench selftest "${selftest[@]}"
part benchmark "$benchmark_seconds" "$python" -m bench run --impl "$names" --device "$device" \
    --recipe none "${size[@]}" "${sampling[@]}" --output "$folder/gpu.json"
if [[ -e $folder/gpu.json && ! -d $folder/gpu ]]; then
    part 'tables and plots' "$show_seconds" "$python" -m bench show "$folder/gpu.json"
fi

if ((${#failed[@]})); then
    say 'failed:'
    for name in "${failed[@]}"; do
        say "  $name"
    done
    exit 1
fi
say "all went well; the files are in $folder"
