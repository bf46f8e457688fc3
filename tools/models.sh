#!/usr/bin/env bash
# Tries the ways in which threads can meet in a commit (group/src/models.rs): every one of few threads under loom, then so many
# schedules of more threads under shuttle (100,000 unless told, which takes 28 s of processor time; the long run is 5,000,000). A schedule that
# fails is printed: LODEDB_SHUTTLE_REPLAY=<it> plays it again in the one test that it is of.
#
#     tools/models.sh [schedules]
set -euo pipefail
cd "$(dirname "$0")/.."
export LODEDB_SHUTTLE_SCHEDULES=${1:-100000}

cargo test --release -p lodedb-group --features loom -- --nocapture --quiet
cargo test --release -p lodedb-group --features shuttle -- --nocapture --quiet
