#!/usr/bin/env bash
# Every test: those of cargo, and beside them what has programs of its own, since either leaves processors idle: the server on disks that
# lose power, the ways in which threads meet in a commit, and fuzzing. What is beside prints when it is through.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
export LODEDB_TEST_PYTHON="$target/test-env/bin/python"
export LODEDB_TEST_NODE_DIR="$PWD/tools/clients/node"

cargo test --release --workspace --no-run

beside() {
    tools/power.sh
    tools/models.sh
    LODEDB_FUZZ_RESULTS=/dev/null LODEDB_FUZZ_SEED=1 tools/fuzz.sh 20
}
log="$target/test-beside.log"
# A process group of its own: all that it started ends with it.
set -m
(set -e; beside) >"$log" 2>&1 </dev/null &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null || true' EXIT

cargo test --release --workspace --no-fail-fast
echo "test: power cuts, models and fuzzing, beside since the tests began"
if ! wait "$beside"; then
    cat "$log"
    echo "test: FAILED: power cuts, models or fuzzing" >&2
    exit 1
fi
cat "$log"
