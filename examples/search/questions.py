#!/usr/bin/env python3
"""Questions and answers: a text is split into sentences, embedded by the database, and asked in natural language.

Without --file the text is WordNet's glosses, 117,000 definitions of words; then it is measured how often asking with one definition of a word
finds another of it or of a synonym, beside the same network in Python.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
import psycopg
from tokenizers import Tokenizer

ASKED = 500
# Texts that a network is given together.
AT_ONCE = 64


def glosses(folder):
    """(words, definition) of each set of synonyms, in the order of the files."""
    for kind in ["noun", "verb", "adj", "adv"]:
        for line in (folder / "usr/share/wordnet" / f"data.{kind}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):
                continue
            fields, gloss = line.split(" | ", 1)
            fields = fields.split(" ")
            words = [fields[4 + 2 * at].split("(")[0].replace("_", " ") for at in range(int(fields[3], 16))]
            yield words, gloss.split('; "')[0].strip()


def session(path, threads=0):
    """A network by ONNX Runtime; no threads are one for each core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Texts:
    """all-MiniLM-L6-v2 as sentence-transformers runs it: longest first, batches of like lengths, the mean of tokens, length 1."""

    def __init__(self, folder, threads=0):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.no_padding()
        self.session = session(folder / "onnx/model.onnx", threads)
        self.names = {given.name for given in self.session.get_inputs()}

    def embed(self, texts):
        encoded = self.tokenizer.encode_batch(texts)
        vectors = np.zeros((len(texts), 384), np.float32)
        order = sorted(range(len(texts)), key=lambda at: -len(encoded[at].ids))
        for start in range(0, len(order), AT_ONCE):
            batch = order[start : start + AT_ONCE]
            width = len(encoded[batch[0]].ids)
            ids, mask = np.zeros((len(batch), width), np.int64), np.zeros((len(batch), width), np.int64)
            for row, at in enumerate(batch):
                ids[row, : len(encoded[at].ids)] = encoded[at].ids
                mask[row, : len(encoded[at].ids)] = 1
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = self.session.run(None, {name: value for name, value in given.items() if name in self.names})[0]
            pooled = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
            vectors[batch] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors


def reciprocal_rank(found, right):
    """One over the place of the first that is right among ten; 0 if none is."""
    return next((1 / place for place, one in enumerate(found[:10], 1) if one in right), 0.0)


def load(connection, entries):
    """Loads (words, text), embedded as it comes; prints how fast."""
    connection.execute(
        """CREATE TABLE answers (id int PRIMARY KEY, words text[], body text,
                                 emb vector(384) GENERATED ALWAYS AS (embed('minilm', body)) STORED)"""
    )
    begun = time.monotonic()
    with connection.cursor().copy("COPY answers (id, words, body) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "text[]", "text"])
        for number, (words, text) in enumerate(entries):
            copy.write_row((number, words, text))
    took = time.monotonic() - begun
    print(f"embedded {len(entries)} texts in {took:.1f} s: {len(entries) / took:.0f} a second")
    connection.execute("CREATE INDEX ON answers USING hnsw (emb vector_cosine_ops)")


def ask(connection, question):
    """The three answers that are nearest, and how long that took."""
    begun = time.monotonic()
    rows = connection.execute(
        "SELECT words, body, emb <=> embed('minilm', %s) FROM answers ORDER BY 3 LIMIT 3", [question]
    ).fetchall()
    took = (time.monotonic() - begun) * 1e3
    print(f"\n{question}  ({took:.1f} ms)")
    for words, body, distance in rows:
        print(f"  {distance:.3f}  {', '.join(words or []) or '-'}: {body}")


def measure(connection, entries, models):
    """MRR@10 of asking with the definitions of words, here and in Python."""
    of_word = defaultdict(set)
    for number, (words, _) in enumerate(entries):
        for word in words:
            of_word[word].add(number)
    right = {n: set().union(*(of_word[word] for word in words)) - {n} for n, (words, _) in enumerate(entries)}
    asked = [number for number in right if right[number]]
    asked = asked[:: max(1, len(asked) // ASKED)][:ASKED]
    ranks = {}
    for exact in ["on", "off"]:
        connection.execute(f"SET lodedb.exact = {exact}")
        found = [
            connection.execute(
                "SELECT id FROM answers WHERE id <> %s ORDER BY emb <=> (SELECT emb FROM answers WHERE id = %s), id LIMIT 10",
                [number, number],
            ).fetchall()
            for number in asked
        ]
        ranks[exact] = np.mean([reciprocal_rank([row[0] for row in rows], right[n]) for n, rows in zip(asked, found)])
    vectors = Texts(models / "minilm").embed([text for _, text in entries])
    in_python = []
    for number in asked:
        near = np.argsort(-(vectors @ vectors[number]), kind="stable")
        in_python.append(reciprocal_rank([int(one) for one in near[:11] if one != number], right[number]))
    print(f"\nMRR@10 of {len(asked)} definitions: {ranks['on']:.4f}; by the index {ranks['off']:.4f}; in Python {np.mean(in_python):.4f}")
    if abs(ranks["on"] - np.mean(in_python)) > 0.005:
        raise SystemExit("questions: the ranks differ from those in Python")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--models", type=Path, required=True)
    arguments.add_argument("--rows", type=int, default=117_659)
    arguments.add_argument("--file", type=Path)
    arguments.add_argument("--ask", action="append", default=[])
    given = arguments.parse_args()
    with psycopg.connect(f"host=127.0.0.1 port={given.port} user=lodedb dbname=lodedb", autocommit=True) as connection:
        connection.execute("CREATE MODEL minilm FROM 'minilm'")
        if given.file:
            text = given.file.read_text()
            sentences = [row[0] for row in connection.execute("SELECT s FROM split_sentences(%s) s", [text])]
            load(connection, [([], sentence) for sentence in sentences])
        else:
            entries = list(glosses(given.data))
            # Evenly from the whole of it.
            entries = entries[:: max(1, len(entries) // given.rows)][: given.rows]
            load(connection, entries)
            measure(connection, entries, given.models)
        for question in given.ask or ["a vehicle that flies", "what do you call someone who writes songs?", "feeling very tired"]:
            ask(connection, question)


if __name__ == "__main__":
    main()
