#!/usr/bin/env bash
# The long run over the simulated disk: power cuts, flush points, damage and failing calls, until docs/reliability/results.tsv has as many
# machines as are asked for (2,000,000 if nothing is said). Stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
results="$PWD/docs/reliability/results.tsv"
[ -s "$results" ] || printf 'date\tcommit\tcampaign\tseeds\timages\tviolations\tseconds\n' > "$results"
export LODEDB_RESULTS="$results"
export LODEDB_SIMULATED_IMAGES="${1:-2000000}"
LODEDB_DATE="$(date -u +%F)"
LODEDB_COMMIT="$(git rev-parse --short HEAD)"
export LODEDB_DATE LODEDB_COMMIT
exec cargo test --release --lib -- --ignored --nocapture --exact simulation::results::long_run
