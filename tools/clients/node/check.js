// Uses a server as programs with node-postgres do, and stops at the first thing that is not right.
// The server is named by PGHOST, PGPORT, PGUSER and PGDATABASE.
'use strict'

const assert = require('node:assert/strict')
const { Client, Pool, types } = require('pg')

async function fails (client, state, text, values) {
  try {
    await client.query(text, values)
  } catch (error) {
    assert.equal(error.code, state, `${text}: ${error.message}`)
    return error
  }
  throw new Error(`${text} succeeded`)
}

async function valuesOfEveryType (client) {
  const moment = new Date('2024-02-29T12:34:56.789Z')
  const cases = [
    ['smallint', -3, -3],
    ['integer', 70000, 70000],
    ['bigint', '9007199254740993', '9007199254740993'],
    ['real', 1.5, 1.5],
    ['double precision', 0.1, 0.1],
    ['numeric', '12345678901234567890.25', '12345678901234567890.25'],
    ['numeric(9,3)', '1.5', '1.500'],
    ['boolean', true, true],
    ['text', "grün '\t\n", "grün '\t\n"],
    ['varchar(5)', 'abc', 'abc'],
    ['bytea', Buffer.from([0, 255]), Buffer.from([0, 255])],
    ['timestamptz', moment, moment],
    ['uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    ['time', '12:34:56.5', '12:34:56.5'],
    ['json', JSON.stringify({ a: [1, null] }), { a: [1, null] }],
    ['jsonb', { b: 1, a: 'x' }, { b: 1, a: 'x' }],
    ['integer[]', [1, null, 3], [1, null, 3]],
    ['text[]', ['a', 'b c', null, 'd"e'], ['a', 'b c', null, 'd"e']],
    ['boolean[]', [true, false], [true, false]],
    ['vector', '[1,2.5,-3]', '[1,2.5,-3]']
  ]
  for (const [number, [type, sent, received]] of cases.entries()) {
    await client.query(`CREATE TABLE js_types_${number} (id int PRIMARY KEY, v ${type})`)
    await client.query(`INSERT INTO js_types_${number} VALUES ($1, $2), ($3, $4)`, [1, sent, 2, null])
    const result = await client.query(`SELECT v FROM js_types_${number} ORDER BY id`)
    assert.deepEqual(result.rows, [{ v: received }, { v: null }], type)
  }
  const interval = await client.query("SELECT '1 year 2 days 03:04:05'::interval AS i, '2024-02-29'::date AS d")
  const { years, days, hours, minutes, seconds } = interval.rows[0].i
  assert.deepEqual([years, days, hours, minutes, seconds], [1, 2, 3, 4, 5])
  assert.equal(interval.rows[0].d.getFullYear(), 2024)
}

async function typesByName (client) {
  // What pgvector's package for Node asks.
  const result = await client.query('SELECT typname, oid FROM pg_type WHERE typname IN ($1, $2, $3)', ['vector', 'halfvec', 'sparsevec'])
  const vector = result.rows.find((row) => row.typname === 'vector')
  assert.ok(vector && vector.oid > 0)
  types.setTypeParser(vector.oid, 'text', (text) => JSON.parse(text))
  const row = (await client.query("SELECT '[1,2]'::vector AS v")).rows[0]
  assert.deepEqual(row.v, [1, 2])
}

async function statements (client) {
  await client.query('CREATE TABLE js_items (id serial PRIMARY KEY, name text UNIQUE, v vector(3))')
  for (let n = 0; n < 50; n++) {
    const result = await client.query({
      name: 'insert-item',
      text: 'INSERT INTO js_items (name, v) VALUES ($1, $2) RETURNING id',
      values: [`n${n}`, JSON.stringify([n, 1, 0 - n])]
    })
    assert.equal(result.command, 'INSERT')
    assert.equal(result.rowCount, 1)
    assert.equal(result.rows[0].id, n + 1)
  }
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS b, 3 AS c; DELETE FROM js_items WHERE false')
  assert.deepEqual(several.map((result) => result.rows), [[{ a: 1 }], [{ b: 2, c: 3 }], []])
  const rows = await client.query({ text: 'SELECT id, name FROM js_items WHERE id < $1 ORDER BY id', values: [3], rowMode: 'array' })
  assert.deepEqual(rows.rows, [[1, 'n0'], [2, 'n1']])
  assert.deepEqual(rows.fields.map((field) => [field.name, field.dataTypeID, field.columnID]), [['id', 23, 1], ['name', 25, 2]])
  const many = await client.query('SELECT id FROM js_items WHERE id = ANY($1::int[]) ORDER BY id', [[7, 5, 999]])
  assert.deepEqual(many.rows, [{ id: 5 }, { id: 7 }])
}

async function searches (client) {
  await client.query('CREATE INDEX ON js_items USING hnsw (v vector_l2_ops)')
  for (let n = 0; n < 50; n += 7) {
    const result = await client.query({
      name: 'near',
      text: 'SELECT name, v, v <-> $1 AS distance FROM js_items ORDER BY v <-> $1 LIMIT 5',
      values: [JSON.stringify([n, 1, 0 - n])]
    })
    assert.equal(result.rows.length, 5)
    assert.deepEqual(result.rows[0], { name: `n${n}`, v: [n, 1, 0 - n], distance: 0 })
  }
}

async function transactions (client) {
  await client.query('BEGIN')
  await client.query("INSERT INTO js_items (name) VALUES ('lost')")
  const error = await fails(client, '23505', "INSERT INTO js_items (name) VALUES ('n1')")
  assert.equal(error.constraint, 'js_items_name_key')
  assert.equal(error.table, 'js_items')
  assert.equal(error.detail, 'Key (name)=(n1) already exists.')
  await fails(client, '25P02', 'SELECT 1')
  await client.query('ROLLBACK')
  assert.equal((await client.query("SELECT count(*)::int AS n FROM js_items WHERE name = 'lost'")).rows[0].n, 0)
  const unknown = await fails(client, '42703', 'SELECT nothing FROM js_items')
  assert.equal(unknown.position, '8')
  await fails(client, '22P02', 'SELECT id FROM js_items WHERE id = $1', ['x'])
  await fails(client, '22000', 'SELECT id FROM js_items ORDER BY v <-> $1 LIMIT 1', ['[1,2]'])
}

async function pooling () {
  const pool = new Pool({ max: 4 })
  await pool.query('CREATE TABLE js_pool (id int PRIMARY KEY, n int)')
  await pool.query('INSERT INTO js_pool VALUES (1, 0)')
  await Promise.all(Array.from({ length: 40 }, () => pool.query('UPDATE js_pool SET n = n + 1 WHERE id = $1', [1])))
  const result = await pool.query('SELECT n FROM js_pool')
  assert.equal(result.rows[0].n, 40)
  await pool.end()
}

async function timeouts (client) {
  await client.query("SET statement_timeout = '200ms'")
  await fails(client, '57014', 'SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE (a + b) % 7 = 3')
  await client.query('RESET statement_timeout')
  assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1)
}

async function main () {
  const client = new Client()
  await client.connect()
  for (const part of [valuesOfEveryType, typesByName, statements, searches, transactions, timeouts]) {
    console.log(part.name)
    await part(client)
  }
  await client.end()
  await pooling()
  console.log('all held')
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
