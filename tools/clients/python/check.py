"""Uses a server as programs with psycopg 3 do, and stops at the first thing that is not right.

Usage: check.py CONNINFO
"""

import datetime
import decimal
import math
import struct
import sys
import threading
import uuid

import psycopg
from psycopg import sql
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types import TypeInfo
from psycopg.types.json import Json, Jsonb

from drivers import expect


class Vector(list):
    """A vector, told apart from a list."""


def register_vector(conn):
    """What pgvector's package for Python registers, for `Vector`."""
    info = TypeInfo.fetch(conn, "vector")
    assert info is not None, "the type vector is not found"
    assert info.oid > 0 and info.array_oid > 0, info
    info.register(conn)

    class TextDumper(Dumper):
        format = Format.TEXT

        def dump(self, obj):
            return ("[" + ",".join(map(repr, map(float, obj))) + "]").encode()

    class BinaryDumper(TextDumper):
        format = Format.BINARY

        def dump(self, obj):
            return struct.pack(f">HH{len(obj)}f", len(obj), 0, *obj)

    class TextLoader(Loader):
        format = Format.TEXT

        def load(self, data):
            return Vector(map(float, bytes(data).decode()[1:-1].split(",")))

    class BinaryLoader(Loader):
        format = Format.BINARY

        def load(self, data):
            count, unused = struct.unpack_from(">HH", data)
            assert unused == 0
            return Vector(struct.unpack_from(f">{count}f", data, 4))

    for base in (TextDumper, BinaryDumper):
        conn.adapters.register_dumper(Vector, type(base.__name__, (base,), {"oid": info.oid}))
    conn.adapters.register_loader(info.oid, TextLoader)
    conn.adapters.register_loader(info.oid, BinaryLoader)
    return info


def fails(conn, state, statement, parameters=None):
    try:
        conn.execute(statement, parameters)
    except psycopg.Error as error:
        expect(error.sqlstate, state, statement)
        conn.rollback()
        return error.diag
    raise AssertionError(f"{statement} succeeded")


def values_of_every_type(conn):
    moment = datetime.datetime(2024, 2, 29, 12, 34, 56, 789012)
    zoned = moment.replace(tzinfo=datetime.timezone.utc)
    values = {
        "smallint": [1, -32768],
        "integer": [70000, -2147483648],
        "bigint": [1 << 40, -(1 << 63)],
        "real": [1.5, math.inf],
        "double precision": [0.1, 1e300],
        "numeric": [decimal.Decimal("12345678901234567890.123"), decimal.Decimal("-0.5")],
        "boolean": [True, False],
        "text": ["", "grün \t\n'"],
        "varchar(9)": ["abc"],
        "bytea": [b"", b"\x00\xff"],
        "date": [datetime.date(2024, 2, 29), datetime.date(1, 1, 1)],
        "time": [datetime.time(12, 34, 56, 789000)],
        "timestamp": [moment, datetime.datetime(1900, 1, 1)],
        "timestamptz": [zoned],
        "interval": [datetime.timedelta(days=3, hours=4, microseconds=5)],
        "uuid": [uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
        "integer[]": [[1, None, 3], []],
        "text[]": [["a", "b c", None, "NULL", ""]],
        "double precision[]": [[0.5, -1.25]],
        "timestamp[]": [[moment]],
        "vector": [Vector([1.0, -2.5, 0.25])],
        "vector(2)": [Vector([1.0, 2.0])],
    }
    for number, (ty, samples) in enumerate(values.items()):
        table = f"py_types_{number}"
        conn.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v {ty})")
        key = 0
        for sample in samples + [None]:
            for placeholder in ("%s", "%t", "%b"):
                if sample is None and placeholder != "%s":
                    continue
                conn.execute(f"INSERT INTO {table} VALUES ({key}, {placeholder})", (sample,))
                for binary in (False, True):
                    row = conn.execute(f"SELECT v FROM {table} WHERE id = %s", (key,), binary=binary).fetchone()
                    expect(row[0], sample, f"{ty} by {placeholder}, {'binary' if binary else 'text'}")
                key += 1
        conn.commit()
    document = {"a": [1, None, "x"], "b": {"c": True}}
    for wrapper, ty in ((Json, "json"), (Jsonb, "jsonb")):
        for binary in (False, True):
            row = conn.execute(f"SELECT %s::{ty}", (wrapper(document),), binary=binary).fetchone()
            expect(row[0], document, ty)
    conn.commit()


def transactions(conn):
    conn.execute("CREATE TABLE py_tx (id int PRIMARY KEY, name text)")
    conn.commit()
    try:
        with conn.transaction():
            conn.execute("INSERT INTO py_tx VALUES (1, 'lost')")
            raise KeyError("gives up")
    except KeyError:
        pass
    with conn.transaction():
        conn.execute("INSERT INTO py_tx VALUES (2, 'kept')")
    expect(conn.execute("SELECT id, name FROM py_tx").fetchall(), [(2, "kept")], "transactions")
    conn.commit()
    diag = fails(conn, "23505", "INSERT INTO py_tx VALUES (2, 'again')")
    expect(diag.constraint_name, "py_tx_pkey", "the constraint")
    expect(diag.message_detail, "Key (id)=(2) already exists.", "the detail")
    fails(conn, "42P01", "SELECT * FROM py_nowhere")
    fails(conn, "22000", "SELECT '[1,2]'::vector <-> '[1,2,3]'")
    expect(conn.info.transaction_status.name, "IDLE", "the status")


def many_and_prepared(conn):
    conn.execute("CREATE TABLE py_many (id int PRIMARY KEY, name text, v vector(3))")
    with conn.cursor() as cursor:
        rows = [(n, f"n{n}", Vector([n, 0.5, -n])) for n in range(300)]
        cursor.executemany("INSERT INTO py_many VALUES (%s, %s, %s)", rows)
        expect(cursor.rowcount, 300, "executemany")
        cursor.executemany(
            "INSERT INTO py_many VALUES (%s, %s) RETURNING id", [(1000, "a"), (1001, "b")], returning=True
        )
        returned = []
        while True:
            returned.append(cursor.fetchone()[0])
            if not cursor.nextset():
                break
        expect(returned, [1000, 1001], "executemany with RETURNING")
    # After five runs psycopg prepares the statement by itself; the types of parameters change in between.
    for n in range(12):
        row = conn.execute("SELECT name FROM py_many WHERE id = %s", (n * 25,)).fetchone()
        expect(row, (f"n{n * 25}",), "a prepared statement")
    for n in (1, 40_000, 1 << 40):
        expect(conn.execute("SELECT %s + 1", (n,)).fetchone(), (n + 1,), "a parameter of growing type")
    row = conn.execute("SELECT id FROM py_many WHERE id = ANY(%s) ORDER BY id", ([5, 3, 99999],)).fetchall()
    expect(row, [(3,), (5,)], "= ANY of a list")
    conn.commit()


def searches(conn):
    conn.execute("CREATE INDEX ON py_many USING hnsw (v vector_l2_ops)")
    conn.commit()
    for binary in (False, True):
        for run in range(8):
            row = conn.execute(
                "SELECT id, v <-> %s AS d FROM py_many WHERE v IS NOT NULL ORDER BY d LIMIT %s",
                (Vector([run * 30, 0.5, -run * 30]), 3),
                binary=binary,
            ).fetchall()
            expect(row[0], (run * 30, 0.0), "the nearest")
            expect(len(row), 3, "the number of neighbours")
    row = conn.execute("SELECT id FROM py_many ORDER BY v <=> '[1,0,-1]'::vector LIMIT 1").fetchone()
    expect(len(row), 1, "a literal vector")
    row = conn.execute("SELECT array_agg(v ORDER BY id) FROM py_many WHERE id < 2", binary=True).fetchone()
    expect(row[0], [[0.0, 0.5, 0.0], [1.0, 0.5, -1.0]], "an array of vectors")
    conn.commit()


def copies(conn):
    conn.execute("CREATE TABLE py_copy (id int PRIMARY KEY, name text, v vector(2), n numeric(8,2))")
    rows = [(1, "one", Vector([1.0, 2.0]), decimal.Decimal("1.50")), (2, None, None, None)]
    with conn.cursor() as cursor:
        with cursor.copy("COPY py_copy FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        info = conn.adapters.types["vector"]
        with cursor.copy("COPY py_copy FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", info.oid, "numeric"])
            for row in rows:
                copy.write_row((row[0] + 10,) + row[1:])
        with cursor.copy("COPY (SELECT * FROM py_copy ORDER BY id) TO STDOUT") as copy:
            copy.set_types(["int4", "text", info.oid, "numeric"])
            read = list(copy.rows())
        expect(read, rows + [(row[0] + 10,) + row[1:] for row in rows], "COPY TO in text")
        with cursor.copy("COPY (SELECT * FROM py_copy ORDER BY id) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", info.oid, "numeric"])
            expect(list(copy.rows()), read, "COPY TO in binary")
        with cursor.copy("COPY py_copy (id, name) FROM STDIN WITH CSV HEADER") as copy:
            copy.write(b"id,name\n100,\"a, b\"\n")
    conn.commit()
    try:
        with conn.cursor() as cursor, cursor.copy("COPY py_copy (id) FROM STDIN") as copy:
            copy.write(b"500\nnot a number\n")
    except psycopg.errors.InvalidTextRepresentation as error:
        assert "line 2" in error.diag.context, error.diag.context
    else:
        raise AssertionError("a bad line was taken")
    conn.rollback()
    expect(conn.execute("SELECT count(*) FROM py_copy").fetchone(), (5,), "rows after a failed COPY")
    conn.commit()


def pipelines(conn):
    conn.execute("CREATE TABLE py_pipe (id int PRIMARY KEY)")
    conn.commit()
    with conn.pipeline():
        cursors = [conn.execute("INSERT INTO py_pipe VALUES (%s) RETURNING id", (n,)) for n in range(50)]
        expect([cursor.fetchone()[0] for cursor in cursors], list(range(50)), "a pipeline")
    conn.commit()
    try:
        with conn.pipeline():
            conn.execute("INSERT INTO py_pipe VALUES (100)")
            conn.execute("INSERT INTO py_pipe VALUES (1)")
            conn.execute("INSERT INTO py_pipe VALUES (101)")
    except psycopg.errors.UniqueViolation:
        pass
    else:
        raise AssertionError("a duplicate key was taken")
    conn.rollback()
    expect(conn.execute("SELECT count(*) FROM py_pipe").fetchone(), (50,), "rows after a failed pipeline")
    conn.commit()


def rows_and_metadata(conn):
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT 1 AS one, 'x'::varchar(7) AS two, 1.5::numeric(6,2) AS three").fetchone()
        expect(row, {"one": 1, "two": "x", "three": decimal.Decimal("1.50")}, "a row as a dictionary")
        expect([column.name for column in cursor.description], ["one", "two", "three"], "names of columns")
        expect([column.type_code for column in cursor.description], [23, 1043, 1700], "types of columns")
        expect(cursor.description[1].display_size, 7, "the length of varchar(7)")
        expect((cursor.description[2].precision, cursor.description[2].scale), (6, 2), "the modifier of numeric(6,2)")
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        expect(cursor.execute("SELECT 2 AS two").fetchone().two, 2, "a named row")
    statement = sql.SQL("SELECT {} FROM {} ORDER BY 1 LIMIT 2").format(sql.Identifier("id"), sql.Identifier("py_many"))
    expect(conn.execute(statement).fetchall(), [(0,), (1,)], "a composed statement")
    expect(conn.execute("SELECT 1; SELECT 2").fetchall(), [(1,)], "the first of two results")
    with psycopg.ClientCursor(conn) as cursor:
        cursor.execute("SELECT %s, %s::vector, %s", ("it's", "[1,2]", [1, 2]))
        expect(cursor.fetchone()[0], "it's", "values spliced by the client")
    conn.execute("SET TIME ZONE 'Europe/Berlin'")
    expect(conn.info.timezone.key, "Europe/Berlin", "the reported time zone")
    conn.execute("SET TIME ZONE 'UTC'")
    assert conn.info.server_version >= 120000, conn.info.server_version
    conn.commit()


def cancelling(conn):
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    fails(
        conn,
        "57014",
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE (a + b) % 7 = 3",
    )
    timer.join()
    expect(conn.execute("SELECT 1").fetchone(), (1,), "the session after a cancel")
    conn.commit()


def main():
    with psycopg.connect(sys.argv[1]) as conn:
        register_vector(conn)
        conn.commit()
        for part in (
            values_of_every_type,
            transactions,
            many_and_prepared,
            searches,
            copies,
            pipelines,
            rows_and_metadata,
            cancelling,
        ):
            print(part.__name__, flush=True)
            part(conn)
    print("all held")


main()
