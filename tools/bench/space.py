#!/usr/bin/env python3
"""How much space a database takes after 90 % of its rows were deleted, and how long statements take meanwhile.

500,000 rows with vectors of 96 dimensions are loaded and indexed, nine tenths deleted, and nothing else is asked of the database: it is
watched until it is within 1.3 times of what loading the survivors afresh takes, or ten minutes have passed. One client searches and one
updates all the time; their 99th percentiles are compared with those before the deletion.

Usage: space.py PROGRAM [ROWS], where PROGRAM is the lodedb to measure; needs psycopg and numpy.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import numpy
import psycopg

DIMS = 96
PROGRAM = sys.argv[1]
ROWS = int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
random = numpy.random.default_rng(7)
CENTRES = random.standard_normal((200, DIMS)).astype(numpy.float32)


def vector(generator):
    return CENTRES[generator.integers(200)] + 0.6 * generator.standard_normal(DIMS).astype(numpy.float32)


def literal(values):
    return "[" + ",".join(f"{value:.4f}" for value in values) + "]"


class Server:
    """A server on a directory."""

    def __init__(self, directory):
        self.directory = directory
        command = [PROGRAM, "serve", "--data", directory, "--listen", "127.0.0.1:0", "--max-connections", "20"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r" on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def connect(self):
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=lodedb dbname=lodedb", autocommit=True)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def load(connection, keep):
    generator = numpy.random.default_rng(11)
    connection.execute(f"CREATE TABLE t (id int PRIMARY KEY, note text, v vector({DIMS}))")
    with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
        for row in range(ROWS):
            values = vector(generator)
            if keep(row):
                copy.write_row((row, f"note {row} of many", literal(values)))
    connection.execute("CREATE INDEX ON t USING ivfpq (v vector_l2_ops)")


def size(directory):
    total = 0
    for folder, names, files in os.walk(directory):
        if folder == directory and "backups" in names:
            names.remove("backups")
        for name in files:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


class Client(threading.Thread):
    """Does one thing again and again, and times it."""

    def __init__(self, server, seed, work):
        super().__init__(daemon=True)
        self.server, self.generator, self.work = server, numpy.random.default_rng(seed), work
        self.times, self.ending = [], False
        self.start()

    def run(self):
        with self.server.connect() as connection:
            while not self.ending:
                begun = time.monotonic()
                self.work(connection, self.generator)
                self.times.append(time.monotonic() - begun)
                time.sleep(0.005)

    def percentile(self):
        times, self.times = self.times, []
        return 1000 * float(numpy.percentile(times, 99)) if times else float("nan")


def search(connection, generator):
    connection.execute(f"SELECT id FROM t ORDER BY v <-> '{literal(vector(generator))}' LIMIT 10").fetchall()


def update(connection, generator):
    connection.execute(f"UPDATE t SET note = 'again' WHERE id = {10 * int(generator.integers(ROWS // 10))}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        fresh = Server(os.path.join(folder, "fresh"))
        with fresh.connect() as connection:
            load(connection, lambda row: row % 10 == 0)
            connection.execute("CHECKPOINT")
            connection.execute("CHECKPOINT")
        least = size(fresh.directory)
        fresh.stop()

        server = Server(os.path.join(folder, "full"))
        with server.connect() as connection:
            load(connection, lambda row: True)
            clients = [Client(server, 1, search), Client(server, 2, update)]
            time.sleep(5)
            [client.percentile() for client in clients]
            time.sleep(30)
            quiet = [client.percentile() for client in clients]
            full = size(server.directory)
            begun = time.monotonic()
            connection.execute("DELETE FROM t WHERE id % 10 <> 0")
            deleting = time.monotonic() - begun
            while size(server.directory) > 1.3 * least and time.monotonic() - begun < 600:
                time.sleep(1)
            took, left = time.monotonic() - begun, size(server.directory)
            busy = [client.percentile() for client in clients]
            for client in clients:
                client.ending = True
                client.join()
            faults = connection.execute("CHECK DATABASE").fetchall()
        server.stop()
    print(f"full {full >> 20} MiB; the survivors loaded afresh take {least >> 20} MiB")
    print(f"DELETE took {deleting:.1f} s; {left >> 20} MiB ({left / least:.2f} times) after {took:.0f} s")
    for name, before, during in zip(("search", "update"), quiet, busy):
        print(f"{name}: p99 {before:.2f} ms before, {during:.2f} ms meanwhile ({during / before:.1f} times)")
    print(f"{len(faults)} faults found")


main()
