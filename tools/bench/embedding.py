#!/usr/bin/env python3
"""Embedding through SQL beside the same networks in Python, in turns: prints one object of JSON. benches/compare starts it.

The server must keep no cache of embeddings (--embedding-cache-mib 0).
"""

import argparse
import io
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psycopg
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples/search"))
from images import pictures  # noqa: E402
from questions import AT_ONCE, Texts, glosses, session  # noqa: E402

ROUNDS = 5
QUERIES = 300


class Images:
    """EfficientNet-Lite0 before its classifier, pictures prepared by Pillow."""

    def __init__(self, folder, threads):
        described = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
        self.crop = described["input_size"][1]
        self.shorter = int(self.crop / described["crop_pct"])
        self.mean, self.deviation = (np.array(described[name], np.float32) for name in ["mean", "std"])
        self.session = session(folder / "model.onnx", threads)
        self.name = self.session.get_inputs()[0].name

    def prepared(self, data):
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
        # The longer side is rounded down, as torchvision and timm do.
        size = [self.shorter * side // min(picture.size) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = ((side - self.crop) // 2 for side in picture.size)
        picture = picture.crop((left, top, left + self.crop, top + self.crop))
        return ((np.asarray(picture, np.float32) / 255 - self.mean) / self.deviation).transpose(2, 0, 1)

    def embed(self, images):
        rows = []
        for start in range(0, len(images), AT_ONCE):
            batch = np.stack([self.prepared(data) for data in images[start : start + AT_ONCE]])
            rows.append(self.session.run(None, {self.name: batch})[0].reshape(len(batch), -1))
        return np.concatenate(rows)


def given(connection, kind, inputs):
    """A table of what is to be embedded."""
    connection.execute(f"CREATE TABLE given_{kind} (id int PRIMARY KEY, content {'text' if kind == 'texts' else 'bytea'})")
    with connection.cursor().copy(f"COPY given_{kind} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "text" if kind == "texts" else "bytea"])
        for number, content in enumerate(inputs):
            copy.write_row((number, content))


def rates(connection, kind, model, call, dims, inputs, peer):
    """Inputs a second, in turns; that the vectors agree is checked in the first."""
    given(connection, kind, inputs)
    ours, theirs = [], []
    for turn in range(ROUNDS):
        connection.execute(f"DROP TABLE IF EXISTS made; CREATE TABLE made (id int PRIMARY KEY, emb vector({dims}))")
        begun = time.monotonic()
        connection.execute(f"INSERT INTO made SELECT id, {call}('{model}', content) FROM given_{kind}")
        ours.append(len(inputs) / (time.monotonic() - begun))
        begun = time.monotonic()
        vectors = peer.embed(inputs)
        theirs.append(len(inputs) / (time.monotonic() - begun))
        if turn == 0:
            found = connection.execute("SELECT emb::text FROM made ORDER BY id").fetchall()
            found = np.array([json.loads(row[0]) for row in found])
            lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(vectors, axis=1)
            least = float(((found * vectors).sum(axis=1) / lengths).min())
            print(f"{kind}: the least cosine to Python's is {least:.6f}", file=sys.stderr)
    return {"inputs": len(inputs), "lodedb_per_s": ours, "python_per_s": theirs, "least_cosine": least}


def latency(connection, texts, peer):
    """Milliseconds of one query each: to embed it, to search by it, and to embed it in Python."""
    connection.execute("CREATE TABLE found (id int PRIMARY KEY, emb vector(384))")
    connection.execute("INSERT INTO found SELECT id, emb FROM made")
    connection.execute("CREATE INDEX ON found USING ivfpq (emb vector_cosine_ops)")
    embed = "SELECT vector_dims(embed('minilm', %s))"
    search = "SELECT id FROM found ORDER BY emb <=> embed('minilm', %s) LIMIT 10"
    times = {"embed_ms": [], "search_ms": [], "python_ms": []}

    def timed(name, run):
        begun = time.monotonic()
        run()
        times[name].append((time.monotonic() - begun) * 1e3)

    for number, text in enumerate(texts):
        timed("embed_ms", lambda: connection.execute(embed, [f"{number} {text}"], prepare=True).fetchall())
        timed("search_ms", lambda: connection.execute(search, [f"{number} {text}"], prepare=True).fetchall())
        timed("python_ms", lambda: peer.embed([f"{number} {text}"]))
    return {name: [float(np.median(ms))] for name, ms in times.items()}


def memory(connection, pid, rows):
    """The most memory the server has while so many rows are embedded, in MiB: of each quarter of them."""

    def resident():
        return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")) / 1024

    connection.execute("CREATE TABLE many AS SELECT g AS id, 'row ' || g AS content FROM generate_series(1, %s) g" % rows)
    connection.execute("CREATE TABLE embedded (id int, emb vector(384))")
    samples, stop = [], threading.Event()

    def watch():
        while not stop.wait(0.1):
            samples.append(resident())

    watching = threading.Thread(target=watch)
    before = resident()
    watching.start()
    begun = time.monotonic()
    connection.execute("INSERT INTO embedded SELECT id, embed('minilm', content) FROM many")
    took = time.monotonic() - begun
    stop.set()
    watching.join()
    part = max(1, len(samples) // 4)
    return {"rows": rows, "seconds": took, "before_mib": before, "most_mib": [max(samples[at * part : (at + 1) * part]) for at in range(4)]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", required=True)
    arguments.add_argument("--pid", required=True)
    arguments.add_argument("--models", type=Path, required=True)
    arguments.add_argument("--wordnet", type=Path, required=True)
    arguments.add_argument("--openclipart", type=Path, required=True)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--texts", type=int, default=2000)
    arguments.add_argument("--images", type=int, default=300)
    arguments.add_argument("--rows", type=int, default=100_000)
    asked = arguments.parse_args()
    with psycopg.connect(f"host=127.0.0.1 port={asked.port} user=lodedb dbname=lodedb", autocommit=True) as connection:
        connection.execute("CREATE MODEL minilm FROM 'minilm'; CREATE MODEL lite FROM 'efficientnet-lite0'")
        in_python = Texts(asked.models / "minilm", asked.threads)
        texts = [text for _, text in glosses(asked.wordnet)]
        texts = list(dict.fromkeys(texts[:: len(texts) // (asked.texts * 11 // 10)]))[: asked.texts]
        images = [data for _, data in pictures(asked.openclipart, asked.images)]
        out = {
            "images": rates(connection, "images", "lite", "embed_image", 1280, images, Images(asked.models / "efficientnet-lite0", asked.threads)),
            "texts": rates(connection, "texts", "minilm", "embed", 384, texts, in_python),
            "latency": latency(connection, texts[:QUERIES], in_python),
            "memory": memory(connection, asked.pid, asked.rows),
        }
        print(json.dumps(out))


if __name__ == "__main__":
    main()
