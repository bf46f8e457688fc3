#!/usr/bin/env bash
# Makes a database of the present format with every kind of file, and the answers it gives, as tests/fixtures/NAME.tar.gz, for tests/formats.rs.
# Once for each format that is released: a fixture is never made again.
#
#     tools/make-fixture.sh format-1
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?a name, such as format-1}
archive="tests/fixtures/$name.tar.gz"
[ ! -e "$archive" ] || { echo "$archive is there already" >&2; exit 1; }
lodedb="${CARGO_TARGET_DIR:-$PWD/target}/release/lodedb"
[ -x "$lodedb" ] || cargo build --release --workspace --bin lodedb
work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT

serve() {
    "$lodedb" serve --data "$work/data" --listen 127.0.0.1:0 --backup-interval 1h 2>"$work/log" &
    server=$!
    until [ -S "$work/data/socket" ] && "$lodedb" sql "$work/data" 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; done
}
run() { for statement in "$@"; do "$lodedb" sql "$work/data" "$statement" >/dev/null; done; }

serve
rows='SELECT i, '"'note '"' || i % 10, i / 4.0::numeric, ARRAY[i, i + 1], ARRAY[sin(i), cos(i), sin(i * 3), cos(i * 7)]::real[]::vector FROM generate_series'
run "CREATE TABLE items (id int PRIMARY KEY, note text, price numeric(10, 2), tags int[], v vector(4))" \
    "CREATE TABLE plain (id int PRIMARY KEY, at timestamptz, body text)" \
    "INSERT INTO items $rows(1, 6000) AS s(i)" \
    "CREATE INDEX notes ON items (note)" \
    "CREATE INDEX near ON items USING ivfpq (v vector_l2_ops)" \
    "CREATE SEQUENCE numbers" "SELECT nextval('numbers')" \
    "INSERT INTO plain SELECT i, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 hour', repeat(md5(i::text), 200) FROM generate_series(1, 20) AS s(i)" \
    "DELETE FROM items WHERE id % 7 = 0" "VACUUM FULL items" \
    "UPDATE items SET note = 'other' WHERE id % 50 = 0" \
    "BACKUP TO '$work/data/backups'" \
    "CREATE ROLE keeper LOGIN PASSWORD 'kept'" "GRANT SELECT ON items TO keeper" \
    "INSERT INTO items $rows(6001, 6100) AS s(i)" CHECKPOINT \
    "DELETE FROM items WHERE id = 5" \
    "CREATE ROLE later" "GRANT keeper TO later" \
    "INSERT INTO items $rows(6101, 6130) AS s(i)" \
    "UPDATE plain SET body = 'short' WHERE id = 3"
{
    for query in "SELECT id, note, price, tags, v FROM items ORDER BY id" \
        "SELECT id FROM items ORDER BY v <-> '[0.5,0.1,0.9,0.3]' LIMIT 5" \
        "SELECT count(*) FROM items WHERE note = 'note 3'" \
        "SELECT id, at, body FROM plain ORDER BY id"; do
        psql -X -q -t -A -F'|' -P null=NULL -h 127.0.0.1 -p "$(sed -n 's/.* on 127.0.0.1:\([0-9]*\)$/\1/p' "$work/log" | head -1)" \
            -U lodedb lodedb -c "$query"
    done
} >"$work/answers"
# As a crash leaves it: the log is part of the format.
kill -KILL "$server"
wait "$server" 2>/dev/null || true
rm -f "$work/data/socket" "$work/data/LOCK"
mkdir -p tests/fixtures
tar -czf "$archive" -C "$work" data answers
ls -l "$archive"
