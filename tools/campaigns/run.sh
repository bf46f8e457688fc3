#!/usr/bin/env bash
# A long campaign, in pieces, until docs/reliability/results.tsv has as much of it as is asked for. Stopped, it goes on where it was. What
# is run is built at the start and put aside: the tree may change meanwhile.
#
#     tools/campaigns/run.sh simulated 2000000 whole databases over a simulated disk, cut before every call
#     tools/campaigns/run.sh power 3000        the whole server on a disk that loses power; needs FUSE
#     tools/campaigns/run.sh kills 1500        the server killed over the wire, a ledger beside it
#     tools/campaigns/run.sh points 600        the same, at named places of the code only
#     tools/campaigns/run.sh damage 6000       one file damaged, the database opened and asked
#     tools/campaigns/run.sh disk-full 40      each kind of work, with so many amounts of room left
#     tools/campaigns/run.sh histories 1000    so many histories of concurrent transactions at each level of isolation
#     tools/campaigns/run.sh differential 1000000  generated statements, on PostgreSQL as well
set -euo pipefail
cd "$(dirname "$0")/../.."
results="$PWD/docs/reliability/results.tsv"
campaign=${1:?simulated, power, kills, points, damage, disk-full, histories or differential}
wanted=${2:?how many}
[ -s "$results" ] || printf 'date\tcommit\tcampaign\tseeds\timages\tviolations\tseconds\n' >"$results"
commit=$(git rev-parse --short HEAD)

# What runs the campaign, the variable that says how much, and how much one piece is.
case $campaign in
    simulated) test=(--lib) file=lodedb amount=LODEDB_SIMULATED_IMAGES piece=$wanted ;;
    power) test=(--bin lodedb) amount=- piece=250 ;;
    kills) test=(--test crash) amount=LODEDB_KILLS piece=100 ;;
    points) test=(--test crash) amount=LODEDB_KILLS piece=100; export LODEDB_KILLS_AT_POINTS=1 ;;
    damage) test=(--test damage) only=damage_is_never amount=LODEDB_DAMAGES piece=500 ;;
    disk-full) test=(--test damage) only=disk_full amount=LODEDB_SIZES piece=$wanted ;;
    histories) test=(--test wire) only=histories:: amount=LODEDB_HISTORIES piece=100 ;;
    differential) test=(--test sql) only=generated_statements amount=LODEDB_STATEMENTS piece=50000 ;;
    *) echo "there is no campaign $campaign" >&2; exit 2 ;;
esac

aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT
# Builds, and puts the program whose file is called $2 (and has a hash behind it or not) at $aside/$1.
put_aside() {
    local name=$1 file=$2 program
    shift 2
    program=$("$@" --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' |
        grep -E "/$file(-[0-9a-f]{16})?$" | tail -1)
    cp "$program" "$aside/$name"
}
put_aside lodedb lodedb cargo build --release --workspace --bin lodedb
export LODEDB_TEST_PROGRAM="$aside/lodedb"
if [ "$campaign" = power ]; then
    put_aside campaign lodedb-power cargo build --release --manifest-path power/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-$PWD/target}/power"
    export LODEDB_POWER_KEPT="${CARGO_TARGET_DIR:-$PWD/target}/power/kept"
else
    put_aside campaign "${file:-${test[1]}}" cargo test --release --workspace "${test[@]}" --no-run
fi

if [ "$campaign" = simulated ]; then
    # It keeps its own results: seeds are played whole.
    export LODEDB_RESULTS="$results" LODEDB_SIMULATED_IMAGES="$wanted" LODEDB_COMMIT="$commit"
    LODEDB_DATE="$(date -u +%F)" "$aside/campaign" --ignored --nocapture --exact simulation::results::long_run
    exit
fi

done_so_far() {
    awk -F'\t' -v campaign="$campaign" '$3 == campaign { sum += $5 } END { print sum + 0 }' "$results"
}
while [ "$(done_so_far)" -lt "$wanted" ]; do
    left=$((wanted - $(done_so_far)))
    now=$((left < piece ? left : piece))
    # Of a few cases too few may do anything.
    [ "$campaign" != damage ] || [ "$now" -ge 50 ] || now=50
    seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    begun=$SECONDS
    echo "$campaign: LODEDB_SEED=$seed, $now of $left to go"
    if [ "$campaign" = power ]; then
        LODEDB_SEED="$seed" "$aside/campaign" "$now"
    else
        env LODEDB_SEED="$seed" "$amount=$now" "$aside/campaign" ${only:+"$only"} --nocapture | tee "$aside/said"
    fi
    # Damage that changes nothing does not count.
    if [ "$campaign" = damage ]; then
        now=$(sed -n 's/^\([0-9]*\) cases tried.*/\1/p' "$aside/said")
    fi
    printf '%s\t%s\t%s\t%s\t%s\t0\t%s\n' "$(date -u +%F)" "$commit" "$campaign" "$seed" "$now" $((SECONDS - begun)) >>"$results"
done
