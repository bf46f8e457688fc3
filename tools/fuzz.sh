#!/usr/bin/env bash
# Fuzzes each target of fuzz/ for so many seconds (600 unless told), as many at once as there are processors, and ends with an error
# if one finds something or the canary does not. Needs no more than the stable toolchain. What was found interesting is kept in the
# target folder, so that the next run goes on from there; one line a target is added to docs/reliability/fuzz.tsv, or to
# LODEDB_FUZZ_RESULTS. With LODEDB_FUZZ_SEED it begins from the repository's corpus alone and tries the same again for the same seed.
#
#     tools/fuzz.sh [seconds [target...]]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(wal_frames wal_replay sql_parsing sql_values sql_casts sql_copying)
results=${LODEDB_FUZZ_RESULTS:-docs/reliability/fuzz.tsv}
folder="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
host=$(rustc -vV | sed -n 's/^host: //p')

# What cargo-fuzz passes, sanitizers aside. A target is named so that build scripts do not get them.
instrument=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0
)
RUSTFLAGS="${instrument[*]}" cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$folder"
programs="$folder/$host/release"

# The canary fails only where libFuzzer looks: its coverage leads there.
mkdir -p "$folder/logs"
if "$programs/canary" -max_total_time=60 -artifact_prefix="$folder/logs/canary-" >"$folder/logs/canary.log" 2>&1; then
    echo "fuzz: the canary did not fail: nothing that follows would mean anything" >&2
    exit 1
fi
grep -q 'the canary is found' "$folder/logs/canary.log" || { cat "$folder/logs/canary.log" >&2; exit 1; }
echo "fuzz: the canary failed, as it should"

fuzz() {
    local target=$1 kept="$folder/corpus/$1" found="$folder/findings/$1" log="$folder/logs/$1.log" seeds=()
    mkdir -p "$kept" "$found"
    for seed in "fuzz/corpus/$target" "fuzz/regress/$target"; do
        [ ! -d "$seed" ] || seeds+=("$seed")
    done
    local options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$found/")
    case $target in
        sql_parsing) options+=(-max_len=4096 -dict=fuzz/sql.dict) ;;
        sql_*) options+=(-max_len=1024 -dict=fuzz/values.dict) ;;
        *) options+=(-max_len=4096) ;;
    esac
    if [ -n "${LODEDB_FUZZ_SEED:-}" ]; then
        kept="$folder/fresh/$1"
        rm -rf "$kept"
        mkdir -p "$kept"
        options+=(-seed="$LODEDB_FUZZ_SEED")
    fi
    local findings=0
    "$programs/$target" "${options[@]}" "$kept" "${seeds[@]}" >"$log" 2>&1 || findings=1
    local runs
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%F)" "$(git rev-parse --short HEAD)" "$target" "$seconds" "${runs:-?}" "$findings" \
        >>"$results"
    if [ "$findings" != 0 ]; then
        grep -aE 'panicked at|ERROR:|Test unit written|^assertion|left:|right:' -A1 "$log" | tail -20 >&2
        echo "fuzz: $target found something: $log" >&2
        return 1
    fi
    echo "fuzz: $target: ${runs:-?} runs, nothing found"
}

failed=0 running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$(nproc)" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit "$failed"
