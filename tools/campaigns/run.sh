#!/usr/bin/env bash
# A long campaign, in pieces, until docs/reliability/results.tsv has as much of it as is asked for. Stopped, it goes on where it was.
#
#     tools/campaigns/run.sh kills 1500        the server killed over the wire, a ledger beside it
#     tools/campaigns/run.sh points 600        the same, at named places of the code only
#     tools/campaigns/run.sh damage 6000       one file damaged, the database opened and asked
#     tools/campaigns/run.sh disk-full 40      each kind of work, with so many amounts of room left
set -euo pipefail
cd "$(dirname "$0")/../.."
results=docs/reliability/results.tsv
campaign=${1:?kills, points, damage or disk-full}
wanted=${2:?how many}
[ -s "$results" ] || printf 'date\tcommit\tcampaign\tseeds\timages\tviolations\tseconds\n' >"$results"

# The program that runs the campaign, the variable that says how much, and how much one piece is.
case $campaign in
    kills) test=crash amount=LODEDB_KILLS piece=100 ;;
    points) test=crash amount=LODEDB_KILLS piece=100; export LODEDB_KILLS_AT_POINTS=1 ;;
    damage) test=damage amount=LODEDB_DAMAGES piece=500 ;;
    disk-full) test=disk_full amount=LODEDB_SIZES piece=$wanted ;;
    *) echo "there is no campaign $campaign" >&2; exit 2 ;;
esac
cargo test --release --test "$test" --no-run

done_so_far() {
    awk -F'\t' -v campaign="$campaign" '$3 == campaign { sum += $5 } END { print sum + 0 }' "$results"
}
while [ "$(done_so_far)" -lt "$wanted" ]; do
    left=$((wanted - $(done_so_far)))
    now=$((left < piece ? left : piece))
    seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    begun=$SECONDS
    echo "$campaign: LODEDB_SEED=$seed $amount=$now, $left to go"
    env LODEDB_SEED="$seed" "$amount=$now" cargo test --release --test "$test" -- --nocapture
    printf '%s\t%s\t%s\t%s\t%s\t0\t%s\n' "$(date -u +%F)" "$(git rev-parse --short HEAD)" "$campaign" "$seed" "$now" $((SECONDS - begun)) \
        >>"$results"
done
