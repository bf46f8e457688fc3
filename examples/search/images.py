#!/usr/bin/env python3
"""Image search: thousands of pictures are embedded by the database, found by a picture that is like them, added, replaced and removed meanwhile."""

import argparse
import io
import threading
import time
from pathlib import Path

import psycopg
from PIL import Image


def changed(data):
    """A picture like another: smaller, turned a little, on white, as a JPEG."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGBA")
    picture.thumbnail((160, 160))
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    out = io.BytesIO()
    white.convert("RGB").rotate(4, Image.Resampling.BICUBIC, fillcolor="white").save(out, "JPEG", quality=80)
    return out.getvalue()


def pictures(folder, count):
    """Names and bytes of pictures, evenly from the whole of them."""
    found = sorted(path for path in folder.rglob("*.png") if 0 < path.stat().st_size < 1 << 20)
    for path in found[:: max(1, len(found) // count)][:count]:
        yield str(path.relative_to(folder)), path.read_bytes()


def load(connection, entries):
    """Loads pictures and has them embedded; those that are none are told."""
    connection.execute(
        """CREATE TABLE images (id int PRIMARY KEY, name text, data bytea,
                                emb vector(1280) GENERATED ALWAYS AS (embed_image('lite', data)) STORED)"""
    )
    begun = time.monotonic()
    with connection.cursor().copy("COPY images (id, name, data) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "text", "bytea"])
        for number, (name, data) in enumerate(entries):
            copy.write_row((number, name, data))
    took = time.monotonic() - begun
    print(f"embedded {len(entries)} pictures in {took:.1f} s: {len(entries) / took:.0f} a second")
    connection.execute("CREATE INDEX ON images USING hnsw (emb vector_cosine_ops)")


NEAREST = "SELECT id, name, emb <=> embed_image('lite', %b) AS distance FROM images WHERE id < 1000000 ORDER BY distance LIMIT 3"


def search(connection, entries, asked):
    """How often a picture that was changed finds the one it was made of among the three nearest."""
    places, times = [], []
    for number in asked:
        like = changed(entries[number][1])
        begun = time.monotonic()
        rows = connection.execute(NEAREST, [like]).fetchall()
        times.append(time.monotonic() - begun)
        # Some pictures are there twice.
        places.append(next((place for place, row in enumerate(rows) if entries[row[0]][1] == entries[number][1]), None))
    times.sort()
    found = sum(place is not None for place in places)
    print(
        f"{found} of {len(asked)} changed pictures find their own among the three nearest, {places.count(0)} as the nearest; "
        f"{times[len(times) // 2] * 1e3:.1f} ms each (median)"
    )
    return found / len(asked)


def change_meanwhile(conninfo, entries, stop, counts):
    """Adds, replaces and removes pictures until told to stop."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        number = 1_000_000
        while not stop.is_set():
            data = entries[counts["rounds"] % len(entries)][1]
            connection.execute("INSERT INTO images VALUES (%s, 'added', %b)", [number, data])
            other = entries[(counts["rounds"] + 1) % len(entries)][1]
            connection.execute("UPDATE images SET data = %b WHERE id = %s", [other, number])
            connection.execute("DELETE FROM images WHERE id = %s", [number])
            counts["rounds"] += 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--models", type=Path, required=True)
    arguments.add_argument("--rows", type=int, default=3000)
    given = arguments.parse_args()
    conninfo = f"host=127.0.0.1 port={given.port} user=lodedb dbname=lodedb"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE MODEL lite FROM 'efficientnet-lite0' WITH (background = white)")
        entries = list(pictures(given.data, given.rows))
        load(connection, entries)
        asked = range(0, len(entries), max(1, len(entries) // 100))
        share = search(connection, entries, asked)

        stop, counts = threading.Event(), {"rounds": 0}
        changing = threading.Thread(target=change_meanwhile, args=(conninfo, entries, stop, counts))
        changing.start()
        meanwhile = search(connection, entries, list(asked)[:30])
        stop.set()
        changing.join()
        left = connection.execute("SELECT count(*) FROM images").fetchone()[0]
        print(f"meanwhile {counts['rounds']} pictures were added, replaced and removed; {left} are there")
        if min(share, meanwhile) < 0.9 or left != len(entries) or counts["rounds"] == 0:
            raise SystemExit("images: too few pictures were found, or some are lost")


if __name__ == "__main__":
    main()
