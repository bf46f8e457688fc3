#!/usr/bin/env python3
"""Voting search: each picture is some hundred SIFT descriptors, computed here by OpenCV, and each descriptor of a picture that is asked for
votes for the pictures that have the descriptors nearest to it. So a picture is found that was turned, scaled or cut.

Without --data the pictures are drawn here.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import psycopg
from pgvector.psycopg import register_vector

SIDE_MAX = 480
DESCRIPTORS_MAX = 200

VOTES = """
    SELECT near.picture, count(*) AS votes
    FROM unnest(%s::vector[]) AS asked (descriptor),
         LATERAL (SELECT picture FROM descriptors ORDER BY descriptor <-> asked.descriptor LIMIT %s) AS near
    GROUP BY near.picture
    ORDER BY votes DESC, near.picture
    LIMIT 5
"""


def read(path):
    """A picture in grey, on white where it is transparent, of at most SIDE_MAX pixels a side; None if it is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        return None
    if picture.dtype != np.uint8:
        picture = cv2.convertScaleAbs(picture, alpha=255 / np.iinfo(picture.dtype).max)
    if picture.ndim == 3 and picture.shape[2] == 4:
        alpha = picture[:, :, 3:] / 255
        picture = (picture[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    scale = SIDE_MAX / max(picture.shape)
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture


def drawn(count):
    """Names and pictures of shapes at random, always the same."""
    random = np.random.default_rng(1)
    for number in range(count):
        picture = np.full((320, 320), 255, np.uint8)
        for _ in range(30):
            x, y, across, down = (int(one) for one in random.integers([0, 0, 8, 8], [320, 320, 60, 60]))
            grey, turn = int(random.integers(0, 230)), float(random.integers(0, 360))
            if random.random() < 0.5:
                cv2.ellipse(picture, (x, y), (across, down), turn, 0, 360, grey, -1)
            else:
                corners = cv2.boxPoints(((x, y), (across, down), turn)).astype(np.int32)
                cv2.fillPoly(picture, [corners], grey)
        yield f"drawn-{number}", picture


def pictures(folder, count):
    """Names and pictures of a folder, evenly from the whole of it; what is none is passed over."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp", ".bmp"})
    for path in found[:: max(1, len(found) // count)][:count]:
        picture = read(path)
        if picture is not None:
            yield str(path.relative_to(folder)), picture


def describe(picture):
    """The descriptors of a picture: a row of 128 numbers each, none for a picture without corners."""
    descriptors = cv2.SIFT_create(nfeatures=DESCRIPTORS_MAX).detectAndCompute(picture, None)[1]
    return np.zeros((0, 128), np.float32) if descriptors is None else descriptors[:DESCRIPTORS_MAX]


def changed(picture, turn, scale):
    """A picture like another: turned by some degrees, and scaled."""
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_AREA, borderValue=255)


def fill(connection, described):
    """Fills the table of descriptors."""
    connection.execute("CREATE TABLE descriptors (picture text, number int, descriptor vector(128), PRIMARY KEY (picture, number))")
    begun, count = time.monotonic(), 0
    with connection.cursor().copy("COPY descriptors FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int4", "vector"])
        for name, descriptors in described:
            for number, descriptor in enumerate(descriptors):
                copy.write_row((name, number, descriptor))
            count += len(descriptors)
    took = time.monotonic() - begun
    print(f"filled {count} descriptors of {len(described)} pictures in {took:.1f} s: {count / took:.0f} a second")
    connection.execute("CREATE INDEX ON descriptors USING hnsw (descriptor vector_l2_ops)")


def vote(connection, picture, nearest):
    """The pictures with the most votes, and how many they have."""
    return connection.execute(VOTES, [list(describe(picture)), nearest]).fetchall()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", required=True)
    arguments.add_argument("--data", type=Path)
    arguments.add_argument("--models", type=Path, help="not used: nothing here is embedded by the database")
    arguments.add_argument("--rows", type=int, default=500, help="how many pictures")
    arguments.add_argument("--asked", type=int, default=50, help="how many of them are looked for, turned and scaled")
    arguments.add_argument("--nearest", type=int, default=3, help="for how many descriptors each one votes")
    arguments.add_argument("--ask", type=Path, help="a picture to look for instead")
    given = arguments.parse_args()
    with psycopg.connect(f"host=127.0.0.1 port={given.port} user=lodedb dbname=lodedb", autocommit=True) as connection:
        register_vector(connection)
        entries = list(pictures(given.data, given.rows) if given.data else drawn(given.rows))
        described = [(name, describe(picture)) for name, picture in entries]
        fill(connection, described)
        if given.ask:
            asked = read(given.ask)
            if asked is None:
                raise SystemExit(f"sift: {given.ask} is no picture")
            for name, votes in vote(connection, asked, given.nearest):
                print(f"{votes:5} votes  {name}")
            return
        # A picture without detail has nothing to vote with.
        able = [place for place, (_, descriptors) in enumerate(described) if len(descriptors) >= 20]
        asked = able[:: max(1, len(able) // given.asked)][: given.asked]
        own, times = 0, []
        for place in asked:
            name, picture = entries[place]
            like = changed(picture, turn=35, scale=0.7)
            begun = time.monotonic()
            found = vote(connection, like, given.nearest)
            times.append(time.monotonic() - begun)
            # Some pictures are there twice.
            own += bool(found) and np.array_equal(dict(entries)[found[0][0]], picture)
        times.sort()
        print(f"{own} of {len(asked)} pictures, turned and scaled, find their own first; {times[len(times) // 2] * 1e3:.1f} ms each (median)")
        if not asked or own < 0.9 * len(asked):
            raise SystemExit("sift: too few pictures were found")


if __name__ == "__main__":
    main()
