// Uses a server as programs with postgres.js do, and stops at the first thing that is not right.
// The server is named by PGHOST, PGPORT, PGUSER and PGDATABASE.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const postgres = createRequire(process.env.LODEDB_NODE_MODULES + '/')('postgres')

const notices = []
const sql = postgres({ max: 4, onnotice: (notice) => notices.push(notice.message) })

async function values () {
  const row = (await sql`SELECT ${-3}::smallint AS a, ${70000}::int AS b, ${'9007199254740993'}::bigint AS c,
    ${0.1}::float8 AS d, ${'1.50'}::numeric(9,2) AS e, ${true}::bool AS f, ${"grün '"}::text AS g,
    ${Buffer.from([0, 255])}::bytea AS h, ${new Date('2024-02-29T12:34:56.789Z')}::timestamptz AS i,
    ${sql.json({ a: [1, null] })}::jsonb AS j, ${[1, 2, 3]}::int[] AS k, ${null}::text AS l`)[0]
  assert.deepEqual({ ...row }, {
    a: -3,
    b: 70000,
    c: '9007199254740993',
    d: 0.1,
    e: '1.50',
    f: true,
    g: "grün '",
    h: Buffer.from([0, 255]),
    i: new Date('2024-02-29T12:34:56.789Z'),
    j: { a: [1, null] },
    k: [1, 2, 3],
    l: null
  })
}

async function vectors () {
  await sql`CREATE TABLE pjs (id int PRIMARY KEY, word text, v vector(2))`
  const rows = Array.from({ length: 50 }, (_, id) => ({ id, word: `w${id}`, v: `[${id},0]` }))
  await sql`INSERT INTO pjs ${sql(rows)}`
  const near = await sql`SELECT id FROM pjs ORDER BY v <-> ${'[2.2,0]'} LIMIT ${3}`
  assert.deepEqual(near.map((row) => row.id), [2, 3, 1])
  const some = await sql`SELECT word FROM pjs WHERE id IN ${sql([4, 5])} ORDER BY id`
  assert.deepEqual(some.map((row) => row.word), ['w4', 'w5'])
}

async function transactions () {
  await assert.rejects(sql.begin(async (tx) => {
    await tx`DELETE FROM pjs`
    throw new Error('no')
  }), /no/)
  await sql.begin('isolation level repeatable read', async (tx) => {
    assert.equal((await tx`SHOW transaction_isolation`)[0].transaction_isolation, 'repeatable read')
    await assert.rejects(tx.savepoint((point) => point`INSERT INTO pjs (id) VALUES (1)`), { code: '23505', constraint_name: 'pjs_pkey' })
    await tx`UPDATE pjs SET word = 'one' WHERE id = 1`
  })
  assert.deepEqual([...await sql`SELECT count(*)::int AS n, max(word) FILTER (WHERE id = 1) AS word FROM pjs`], [{ n: 50, word: 'one' }])
}

async function parts () {
  let seen = 0
  await sql`SELECT * FROM pjs`.cursor(16, (rows) => { seen += rows.length })
  assert.equal(seen, 50)
  const described = await sql`SELECT id, v FROM pjs WHERE id = ${1}`.describe()
  assert.deepEqual(described.columns.map((column) => column.name), ['id', 'v'])
  const chunks = []
  for await (const chunk of await sql`COPY (SELECT id FROM pjs WHERE id < 3 ORDER BY id) TO STDOUT`.readable()) chunks.push(chunk)
  assert.equal(Buffer.concat(chunks).toString(), '0\n1\n2\n')
  const into = await sql`COPY pjs (id, word) FROM STDIN`.writable()
  await new Promise((resolve, reject) => into.on('finish', resolve).on('error', reject).end('100\tlast\n'))
  assert.equal((await sql`SELECT word FROM pjs WHERE id = 100`)[0].word, 'last')
}

async function cancelling () {
  const slow = sql`SELECT pg_sleep(10)`.execute()
  setTimeout(() => slow.cancel(), 200)
  await assert.rejects(slow, { code: '57014' })
}

async function noticesAndNotifications () {
  await sql`DROP TABLE IF EXISTS nowhere`
  assert.ok(notices.some((text) => text.includes('does not exist, skipping')), notices.join())
  const heard = new Promise((resolve) => sql.listen('here', resolve).then(() => sql.notify('here', 'word')))
  assert.equal(await heard, 'word')
}

for (const part of [values, vectors, transactions, parts, cancelling, noticesAndNotifications]) {
  console.log(part.name)
  await part()
}
await sql.end()
console.log('all held')
