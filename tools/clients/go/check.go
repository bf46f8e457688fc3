// Uses a server as programs with pgx do, and stops at the first thing that is not right. Called with the connection
// string. Built by tools/install-test-deps.sh against the packages that Debian has.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(actual, wanted interface{}, what string) {
	if !reflect.DeepEqual(actual, wanted) {
		panic(fmt.Sprintf("%s: %#v instead of %#v", what, actual, wanted))
	}
}

func code(err error) string {
	var failed *pgconn.PgError
	if errors.As(err, &failed) {
		return failed.Code + " " + failed.ConstraintName
	}
	return fmt.Sprint(err)
}

func values(conn *pgx.Conn) {
	var (
		small  int16
		long   int64
		double float64
		truth  bool
		words  string
		bytes  []byte
		moment time.Time
		list   []int32
		none   *string
	)
	at := time.Date(2024, 2, 29, 12, 34, 56, 789000000, time.UTC)
	sql := "SELECT $1::smallint, $2::bigint, $3::float8, $4::bool, $5::text, $6::bytea, $7::timestamptz, $8::int[], $9::text"
	row := conn.QueryRow(ctx, sql, int16(-3), int64(1)<<40, 0.1, true, "grün '", []byte{0, 255}, at, []int32{1, 2}, nil)
	must(row.Scan(&small, &long, &double, &truth, &words, &bytes, &moment, &list, &none))
	expect(small, int16(-3), "smallint")
	expect(long, int64(1)<<40, "bigint")
	expect(double, 0.1, "double precision")
	expect(truth, true, "boolean")
	expect(words, "grün '", "text")
	expect(bytes, []byte{0, 255}, "bytea")
	expect(moment.Equal(at), true, "timestamptz")
	expect(list, []int32{1, 2}, "integer[]")
	expect(none == nil, true, "NULL")
}

func tables(conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "CREATE TABLE pgx (id int PRIMARY KEY, word text NOT NULL, v vector(2))")
	must(err)
	rows := make([][]interface{}, 100)
	for number := range rows {
		rows[number] = []interface{}{int32(number), fmt.Sprintf("w%d", number)}
	}
	copied, err := conn.CopyFrom(ctx, pgx.Identifier{"pgx"}, []string{"id", "word"}, pgx.CopyFromRows(rows))
	must(err)
	expect(copied, int64(100), "COPY in binary")
	batch := &pgx.Batch{}
	for number := 0; number < 100; number++ {
		batch.Queue("UPDATE pgx SET v = $1::text::vector WHERE id = $2", fmt.Sprintf("[%d,0]", number), number)
	}
	results := conn.SendBatch(ctx, batch)
	for number := 0; number < 100; number++ {
		tag, err := results.Exec()
		must(err)
		expect(tag.RowsAffected(), int64(1), "a statement of a batch")
	}
	must(results.Close())
	_, err = conn.Exec(ctx, "INSERT INTO pgx VALUES (1, 'again')")
	expect(code(err), "23505 pgx_pkey", "the violation")
}

func searches(conn *pgx.Conn) {
	rows, err := conn.Query(ctx, "SELECT word, v::text, v <-> $1::text::vector FROM pgx ORDER BY v <-> $1::text::vector LIMIT 2", "[2.2,0]")
	must(err)
	var found []string
	for rows.Next() {
		var word, v string
		var distance float64
		must(rows.Scan(&word, &v, &distance))
		found = append(found, fmt.Sprintf("%s %s %.1f", word, v, distance))
	}
	must(rows.Err())
	expect(found, []string{"w2 [2,0] 0.2", "w3 [3,0] 0.8"}, "neighbours")
}

func transactions(conn *pgx.Conn) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	must(err)
	_, err = tx.Exec(ctx, "DELETE FROM pgx WHERE id = 1")
	must(err)
	inner, err := tx.Begin(ctx)
	must(err)
	_, err = inner.Exec(ctx, "DELETE FROM pgx")
	must(err)
	must(inner.Rollback(ctx))
	var count int
	must(tx.QueryRow(ctx, "SELECT count(*) FROM pgx").Scan(&count))
	expect(count, 99, "after the savepoint")
	must(tx.Rollback(ctx))
	must(conn.QueryRow(ctx, "SELECT count(*) FROM pgx").Scan(&count))
	expect(count, 100, "after the rollback")
}

func cancelling(conn *pgx.Conn) {
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	_, err := conn.Exec(short, "SELECT pg_sleep(10)")
	expect(err != nil && (strings.Contains(err.Error(), "deadline") || strings.Contains(err.Error(), "timeout")), true, "a deadline")
}

func notifications(conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "LISTEN here")
	must(err)
	_, err = conn.Exec(ctx, "NOTIFY here, 'word'")
	must(err)
	heard, err := conn.WaitForNotification(ctx)
	must(err)
	expect(heard.Channel+" "+heard.Payload, "here word", "NOTIFY")
}

func main() {
	conn, err := pgx.Connect(ctx, os.Args[1])
	must(err)
	for _, part := range []func(*pgx.Conn){values, tables, searches, transactions, notifications, cancelling} {
		part(conn)
	}
	fmt.Println("all held")
}
