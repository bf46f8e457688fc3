"""Uses a server as programs with asyncpg do, and stops at the first thing that is not right.

The server is named by PGHOST, PGPORT, PGUSER and PGDATABASE.
"""

import asyncio
import struct

import asyncpg

from drivers import VALUES, expect


def encode_vector(components):
    return struct.pack(f">HH{len(components)}f", len(components), 0, *components)


def decode_vector(data):
    count, _ = struct.unpack_from(">HH", data)
    return list(struct.unpack_from(f">{count}f", data, 4))


async def values(conn):
    for type_name, value in VALUES:
        row = await conn.fetchrow(f"SELECT $1::{type_name} AS v, NULL::{type_name} AS n", value)
        expect((row["v"], row["n"]), (value, None), type_name)


async def vectors(conn):
    await conn.set_type_codec(
        "vector", schema="public", encoder=encode_vector, decoder=decode_vector, format="binary"
    )
    await conn.execute("CREATE TABLE apg (id int PRIMARY KEY, word text, v vector(2))")
    records = [(number, f"w{number}", [float(number), 0.0]) for number in range(1000)]
    done = await conn.copy_records_to_table("apg", records=records, columns=["id", "word", "v"])
    expect(done, "COPY 1000", "COPY in binary")
    near = await conn.fetch("SELECT id, v FROM apg ORDER BY v <-> $1 LIMIT $2", [2.2, 0.0], 3)
    expect([(row["id"], row["v"]) for row in near], [(2, [2.0, 0.0]), (3, [3.0, 0.0]), (1, [1.0, 0.0])], "neighbours")
    await conn.executemany("UPDATE apg SET word = $2 WHERE id = $1", [(1, "one"), (2, "two")])
    expect(await conn.fetchval("SELECT string_agg(word, ',' ORDER BY id) FROM apg WHERE id < 4"), "w0,one,two,w3", "")


async def transactions(conn):
    async with conn.transaction(isolation="serializable"):
        expect(await conn.fetchval("SHOW transaction_isolation"), "serializable", "the level")
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO apg VALUES (1, 'again', NULL)")
        except asyncpg.UniqueViolationError as error:
            expect(error.constraint_name, "apg_pkey", "the violation")
        # A cursor, in parts.
        ids = [row["id"] async for row in conn.cursor("SELECT id FROM apg ORDER BY id", prefetch=64)]
        expect(ids, list(range(1000)), "a cursor")
    try:
        async with conn.transaction():
            await conn.execute("DELETE FROM apg")
            raise KeyError
    except KeyError:
        pass
    expect(await conn.fetchval("SELECT count(*) FROM apg"), 1000, "after the rollback")


async def statements(conn):
    prepared = await conn.prepare("SELECT id, word FROM apg WHERE id = $1")
    expect([parameter.name for parameter in prepared.get_parameters()], ["int4"], "the parameters")
    expect([column.name for column in prepared.get_attributes()], ["id", "word"], "the columns")
    expect(await prepared.fetchval(2, column=1), "two", "a prepared statement")
    try:
        await conn.fetch("SELECT pg_sleep(10)", timeout=0.2)
    except asyncio.TimeoutError:
        pass
    expect(await conn.fetchval("SELECT 1"), 1, "after a statement that was cancelled")


async def notifications(conn):
    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener("here", lambda _conn, _pid, channel, payload: heard.set_result((channel, payload)))
    await conn.execute("NOTIFY here, 'word'")
    expect(await asyncio.wait_for(heard, 5), ("here", "word"), "NOTIFY")


async def main():
    conn = await asyncpg.connect()
    for part in (values, vectors, transactions, statements, notifications):
        print(part.__name__, flush=True)
        await part(conn)
    await conn.close()
    async with asyncpg.create_pool(min_size=2, max_size=4) as pool:
        counts = await asyncio.gather(*(pool.fetchval("SELECT count(*) FROM apg") for _ in range(8)))
        expect(counts, [1000] * 8, "a pool")
    print("all held")


asyncio.run(main())
