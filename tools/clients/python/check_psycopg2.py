"""Uses a server as programs with psycopg2 do, and stops at the first thing that is not right."""

import io
import sys

import psycopg2
import psycopg2.errors
import psycopg2.extras

from drivers import VALUES, expect


def values(conn):
    psycopg2.extras.register_uuid()
    with conn, conn.cursor() as cursor:
        for type_name, value in VALUES:
            cursor.execute(f"SELECT %s::{type_name}, NULL::{type_name}", (value,))
            received, null = cursor.fetchone()
            expect(bytes(received) if type_name == "bytea" else received, value, type_name)
            expect(null, None, f"NULL of {type_name}")


def tables_and_errors(conn):
    with conn, conn.cursor() as cursor:
        cursor.execute("CREATE TABLE p2 (id serial PRIMARY KEY, word text NOT NULL UNIQUE, v vector(2))")
        rows = [(f"w{number}", f"[{number},0]") for number in range(250)]
        psycopg2.extras.execute_values(cursor, "INSERT INTO p2 (word, v) VALUES %s", rows)
        expect(cursor.rowcount, 50, "the last of the pages of execute_values")
        cursor.executemany("UPDATE p2 SET word = %s WHERE word = %s", [("a", "w0"), ("b", "w1")])
        cursor.execute("INSERT INTO p2 (word) VALUES (%s) RETURNING id", ("new",))
        expect(cursor.fetchone(), (251,), "RETURNING")
    try:
        with conn, conn.cursor() as cursor:
            cursor.execute("INSERT INTO p2 (word) VALUES ('new')")
    except psycopg2.errors.UniqueViolation as error:
        expect((error.pgcode, error.diag.constraint_name), ("23505", "p2_word_key"), "the violation")
    else:
        raise AssertionError("the second 'new' was taken")
    with conn, conn.cursor() as cursor:
        cursor.execute("SAVEPOINT here")
        try:
            cursor.execute("SELECT nothing_here")
        except psycopg2.errors.UndefinedColumn:
            cursor.execute("ROLLBACK TO SAVEPOINT here")
        cursor.execute("SELECT count(*) FROM p2")
        expect(cursor.fetchone(), (251,), "after the savepoint")


def searches(conn):
    with conn, conn.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
        cursor.execute("SELECT id, word, v <-> %s AS distance FROM p2 ORDER BY v <-> %s LIMIT 3", ("[2,0]",) * 2)
        expect([row["word"] for row in cursor], ["w2", "b", "w3"], "the neighbours")
    # A cursor on the server, in parts.
    with conn, conn.cursor("all", scrollable=True) as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT id FROM p2 ORDER BY id")
        expect(len(list(cursor)), 251, "a cursor with a name")


def copies(conn):
    with conn, conn.cursor() as cursor:
        cursor.execute("CREATE TABLE p2_copy (id int, word text)")
        cursor.copy_expert("COPY p2_copy FROM STDIN WITH (FORMAT csv)", io.StringIO('1,"a,b"\n2,c\n3,\n'))
        out = io.StringIO()
        cursor.copy_expert("COPY p2_copy TO STDOUT", out)
        expect(out.getvalue(), "1\ta,b\n2\tc\n3\t\\N\n", "what COPY gives")


def levels_and_notices(conn):
    conn.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with conn, conn.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        expect(cursor.fetchone(), ("repeatable read",), "the level")
    conn.set_session(isolation_level="READ COMMITTED", readonly=False, autocommit=True)
    with conn.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS nowhere")
        assert any("does not exist, skipping" in notice for notice in conn.notices), conn.notices
        cursor.execute("LISTEN here")
        cursor.execute("NOTIFY here, 'word'")
        conn.poll()
        expect([(notify.channel, notify.payload) for notify in conn.notifies], [("here", "word")], "NOTIFY")


def main():
    conn = psycopg2.connect(sys.argv[1])
    for part in (values, tables_and_errors, searches, copies, levels_and_notices):
        print(part.__name__, flush=True)
        part(conn)
    conn.close()
    print("all held")


main()
