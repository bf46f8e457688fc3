#!/usr/bin/env bash
# The whole server, RocksDB and FAISS included, on a disk that loses power: so many disks that a power cut may leave (100 unless told) are
# each started from and asked. First a disk that lies about syncs, which must be noticed. Needs FUSE; without it nothing is run, and said so.
# LODEDB_SEED is the seed; a disk that breaks a promise is kept below the target folder.
#
#     tools/power.sh [images]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! [ -r /dev/fuse ] || ! [ -w /dev/fuse ]; then
    echo "power: NOT RUN: /dev/fuse cannot be opened here" >&2
    exit 0
fi
target="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build --release --workspace --bin lodedb
export LODEDB_TEST_PROGRAM="$target/release/lodedb"
cargo build --release --manifest-path power/Cargo.toml --target-dir "$target/power"
program="$target/power/release/lodedb-power"
export LODEDB_POWER_KEPT="$target/power/kept"

if "$program" 40 lying >"$target/power/lying.log" 2>&1; then
    echo "power: a disk that lies was not noticed: nothing that follows would mean anything" >&2
    exit 1
fi
grep -q 'a promise was broken' "$target/power/lying.log" || { cat "$target/power/lying.log" >&2; exit 1; }
rm -rf "$LODEDB_POWER_KEPT"
echo "power: a disk that lies was noticed, as it should be"
"$program" "${1:-100}"
