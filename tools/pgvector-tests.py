#!/usr/bin/env python3
"""Runs pgvector's own regression files on a LodeDB server through psql, statement by statement.

    tools/pgvector-tests.py CHECKOUT [--program target/release/lodedb] [--show] [FILE ..]

CHECKOUT is a checkout of pgvector: its test/sql/*.sql are run, each on a database of its own, in the way of pg_regress
(`psql -X -a -q`), and what comes out is compared with test/expected/*.out. A statement matches if everything psql
printed for it is the same, down to the line that marks the place of an error. Prints matched/total for each file and
for all. Statements that differ, with both answers, are printed with --show. Ends with status 1 below 97 %.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED = 0.97


def statements(sql: str) -> list[list[str]]:
    """The lines of each statement, as psql echoes them: comments by themselves, empty lines not at all."""
    found, open_lines = [], []
    for line in sql.splitlines():
        if not line.strip() and not open_lines:
            continue
        open_lines.append(line)
        text = line.strip()
        if text.endswith(";") or text.startswith(("\\", "--")):
            found.append(open_lines)
            open_lines = []
    if open_lines:
        found.append(open_lines)
    return found


def answers(sent: list[list[str]], printed: str) -> list[str]:
    """What was printed behind each statement."""
    lines = printed.splitlines()
    found, at = [], 0
    starts = []
    for statement in sent:
        # The echo of a statement stands behind all that was printed for those before it.
        while at < len(lines) and lines[at] != statement[0]:
            at += 1
        starts.append(at)
        at += len(statement)
    for place, statement in enumerate(sent):
        end = starts[place + 1] if place + 1 < len(starts) else len(lines)
        found.append("\n".join(line.rstrip() for line in lines[starts[place] + len(statement) : end]))
    return found


class Server:
    """A server on a fresh directory."""

    def __init__(self, program: Path, directory: Path, port: int):
        self.port = port
        self.log = open(directory / "log", "w")
        command = [program, "serve", "--data", directory / "data", "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(200):
            if self.psql("SELECT 1", []).returncode == 0:
                return
            time.sleep(0.05)
        sys.exit(f"the server did not start: {(directory / 'log').read_text()}")

    def psql(self, text: str, options: list[str], directory: Path | None = None) -> subprocess.CompletedProcess:
        environment = {**os.environ, "LC_MESSAGES": "C"}
        command = ["psql", "-X", *options, "-h", "127.0.0.1", "-p", str(self.port), "-U", "lodedb", "lodedb"]
        return subprocess.run(
            command,
            input=text,
            text=True,
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("files", nargs="*", help="names of files without .sql; all where none is given")
    parser.add_argument("--program", type=Path, default=Path("target/release/lodedb"))
    parser.add_argument("--port", type=int, default=55432)
    parser.add_argument("--show", action="store_true", help="print the statements that differ")
    given = parser.parse_args()
    if not shutil.which("psql"):
        sys.exit("there is no psql; on Debian: apt-get install postgresql-client")
    sources = sorted((given.checkout / "test/sql").glob("*.sql"))
    sources = [source for source in sources if not given.files or source.stem in given.files]
    if not sources:
        sys.exit(f"there are no files in {given.checkout}/test/sql")
    matched = total = 0
    for source in sources:
        sent = statements(source.read_text())
        expected = answers(sent, (given.checkout / f"test/expected/{source.stem}.out").read_text())
        with tempfile.TemporaryDirectory() as directory:
            server = Server(given.program, Path(directory), given.port)
            (Path(directory) / "results").mkdir()
            server.psql("CREATE EXTENSION IF NOT EXISTS vector", ["-q"])
            printed = server.psql(source.read_text(), ["-a", "-q"], Path(directory)).stdout
            server.stop()
        got = answers(sent, printed)
        counted = [place for place, statement in enumerate(sent) if not statement[0].strip().startswith("--")]
        same = [place for place in counted if got[place] == expected[place]]
        matched, total = matched + len(same), total + len(counted)
        print(f"{source.stem:20} {len(same):4}/{len(counted)}")
        if given.show:
            for place in counted:
                if got[place] != expected[place]:
                    statement = "\n".join(sent[place])
                    print(f"--- {statement[:300]}\nexpected:\n{expected[place]}\ngot:\n{got[place]}\n")
    print(f"{'all':20} {matched:4}/{total} = {100 * matched / total:.1f} %")
    return 0 if matched >= WANTED * total else 1


if __name__ == "__main__":
    sys.exit(main())
