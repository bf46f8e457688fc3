"""Uses a server as programs with pg8000 do, and stops at the first thing that is not right.

Called with the host, the port, the user and the database.
"""

import io
import sys

import pg8000.dbapi
import pg8000.native

from drivers import VALUES, expect


def values(conn):
    for type_name, value in VALUES:
        rows = conn.run(f"SELECT CAST(:v AS {type_name}), CAST(NULL AS {type_name})", v=value)
        expect(rows, [[value, None]], type_name)


def vectors(conn):
    # As pgvector's package for Python registers its types.
    rows = conn.run("SELECT typname, oid FROM pg_type WHERE oid IN (to_regtype('vector'), to_regtype('halfvec'))")
    oids = dict(rows)
    expect(sorted(oids), ["halfvec", "vector"], "the types by name")
    conn.register_in_adapter(oids["vector"], lambda text: [float(part) for part in text[1:-1].split(",")])
    conn.run("CREATE TABLE p8 (id int PRIMARY KEY, v vector(2), h halfvec(2))")
    for number in range(20):
        conn.run("INSERT INTO p8 VALUES (:id, :v, :v)", id=number, v=f"[{number},1]")
    rows = conn.run("SELECT id, v FROM p8 ORDER BY v <-> :v LIMIT 2", v="[3.2,1]")
    expect(rows, [[3, [3.0, 1.0]], [4, [4.0, 1.0]]], "neighbours")
    rows = conn.run("SELECT id FROM p8 ORDER BY h <=> :v, id LIMIT 1", v="[1,1]")
    expect(rows, [[1]], "neighbours of halfvec")


def copies(conn):
    conn.run("COPY p8 (id, v) FROM STDIN WITH (FORMAT csv)", stream=io.StringIO('100,"[7,7]"\n101,\n'))
    out = io.BytesIO()
    conn.run("COPY (SELECT id, v FROM p8 WHERE id >= 100 ORDER BY id) TO STDOUT", stream=out)
    expect(out.getvalue(), b"100\t[7,7]\n101\t\\N\n", "what COPY gives")


def transactions(conn):
    conn.run("START TRANSACTION")
    conn.run("DELETE FROM p8")
    conn.run("ROLLBACK")
    expect(conn.run("SELECT count(*) FROM p8"), [[22]], "after the rollback")
    try:
        conn.run("INSERT INTO p8 (id) VALUES (1)")
    except pg8000.native.DatabaseError as error:
        expect((error.args[0]["C"], error.args[0]["n"]), ("23505", "p8_pkey"), "the violation")
    else:
        raise AssertionError("a key was taken twice")


def dbapi(host, port, user, database):
    with pg8000.dbapi.connect(user=user, host=host, port=port, database=database) as conn:
        cursor = conn.cursor()
        cursor.executemany("INSERT INTO p8 (id, v) VALUES (%s, %s)", [(200, "[1,2]"), (201, None)])
        conn.commit()
        cursor.execute("SELECT id, v FROM p8 WHERE id >= %s ORDER BY id", (200,))
        expect(list(cursor.fetchall()), [[200, "[1,2]"], [201, None]], "rows")
        expect([column[0] for column in cursor.description], ["id", "v"], "the columns")


def main():
    host, port, user, database = sys.argv[1:]
    with pg8000.native.Connection(user, host=host, port=int(port), database=database) as conn:
        for part in (values, vectors, copies, transactions):
            print(part.__name__, flush=True)
            part(conn)
    dbapi(host, int(port), user, database)
    print("all held")


main()
