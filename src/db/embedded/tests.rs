//! The embedded interface as a program uses it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::time::Duration;

use lodedb_sql::vector::Metric;
use lodedb_sql::{SqlError, SqlState};

use crate::{Db, Options, Session, SessionOptions};

struct Opened {
    _dir: tempfile::TempDir,
    db: Db,
    session: Session,
}

async fn items() -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path(), Options::for_test()).unwrap();
    let mut session = db.session(SessionOptions::default()).unwrap();
    session
        .execute_sql(
            "CREATE TABLE items (id bigserial PRIMARY KEY, title text NOT NULL, price numeric(10, 2) CHECK (price >= 0),
                                 day date, embedding vector(3))",
        )
        .await
        .unwrap();
    Opened { _dir: dir, db, session }
}

async fn fill(session: &mut Session) {
    let inserted = session
        .table("items")
        .insert()
        .column("title", &["apple", "pear", "hammer", "ghost"])
        .column("price", &[Some("1.20"), Some("1.5"), Some("19"), None])
        .column("embedding", &[Some([1.0, 0.0, 0.2]), Some([0.9, 0.1, 0.3]), Some([0.0, 1.0, 0.1]), None])
        .run()
        .await;
    assert_eq!(inserted.unwrap(), 4);
}

fn state<T: std::fmt::Debug>(result: Result<T, SqlError>) -> SqlState {
    result.unwrap_err().state()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_as_they_were_given() {
    let mut opened = items().await;
    let session = &mut opened.session;
    let id = uuid::Uuid::from_u128(7);
    let sql = "SELECT $1::bool AS b, $2::int2 AS i2, $3::int4 AS i4, $4::int8 AS i8, $5::real AS r, $6::float8 AS f,
                      $7::text AS t, $8::bytea AS y, $9::uuid AS u, $10::vector AS v, $11::numeric AS n, $12::text AS z";
    let none: Option<String> = None;
    let rows = session
        .query(
            sql,
            &[
                &true,
                &-2_i16,
                &3_i32,
                &4_i64,
                &0.5_f32,
                &-0.25_f64,
                &"a'b",
                &vec![0_u8, 255],
                &id,
                &[1.0_f32, 2.0],
                &"1.25",
                &none,
            ],
        )
        .await
        .unwrap();
    assert_eq!((rows.len(), rows.affected(), rows.batches().len()), (1, 1, 1));
    let row = rows.first().unwrap();
    assert!(row.get::<bool>("b").unwrap());
    assert_eq!(row.get::<i16>("i2").unwrap(), -2);
    assert_eq!((row.get::<i32>("i4").unwrap(), row.get::<i64>("i4").unwrap()), (3, 3));
    assert_eq!(row.get::<i64>(3).unwrap(), 4);
    assert_eq!((row.get::<f32>("r").unwrap(), row.get::<f64>("r").unwrap()), (0.5, 0.5));
    assert_eq!(row.get::<f64>("f").unwrap(), -0.25);
    assert_eq!(row.get::<String>("t").unwrap(), "a'b");
    assert_eq!(row.get::<Vec<u8>>("y").unwrap(), [0, 255]);
    assert_eq!(row.get::<uuid::Uuid>("u").unwrap(), id);
    assert_eq!(row.get::<Vec<f32>>("v").unwrap(), [1.0, 2.0]);
    assert_eq!(row.text("n").unwrap().as_deref(), Some("1.25"));
    assert_eq!(row.get::<Option<String>>("z").unwrap(), None);
    assert_eq!(row.text("z").unwrap(), None);
    assert_eq!(state(row.get::<String>("z")), SqlState::NullValueNotAllowed);
    assert_eq!(state(row.get::<String>("i8")), SqlState::DatatypeMismatch);
    assert_eq!(state(row.get::<i64>("nothing")), SqlState::UndefinedColumn);
    assert_eq!(state(row.get::<i64>(12)), SqlState::UndefinedColumn);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_cast_and_refused_as_postgresql_does() {
    let mut opened = items().await;
    let session = &mut opened.session;
    let insert = "INSERT INTO items (title, price, day, embedding) VALUES ($1, $2, $3, $4) RETURNING id";
    let rows = session.query(insert, &[&"apple", &3_i64, &"2024-05-01", &"[1,2,3]"]).await.unwrap();
    assert_eq!((rows.first().unwrap().get::<i64>("id").unwrap(), rows.affected()), (1, 1));
    let rows = session.query("SELECT price, day FROM items WHERE id = $1", &[&1_i32]).await.unwrap();
    let row = rows.first().unwrap();
    assert_eq!((row.text(0).unwrap().unwrap(), row.text(1).unwrap().unwrap()), ("3.00".into(), "2024-05-01".into()));
    let refused = [
        (
            state(session.query(insert, &[&"a", &"x", &"2024-05-01", &"[1,2,3]"]).await),
            SqlState::InvalidTextRepresentation,
        ),
        (state(session.query(insert, &[&"a"]).await), SqlState::ProtocolViolation),
        (state(session.query(insert, &[&"a", &1, &None::<String>, &vec![1.0_f32]]).await), SqlState::DataException),
        (state(session.query(insert, &[&"a", &1, &None::<String>, &[f32::NAN; 3]]).await), SqlState::DataException),
        (
            state(session.query(insert, &[&None::<String>, &1, &None::<String>, &[1.0_f32; 3]]).await),
            SqlState::NotNullViolation,
        ),
        (state(session.query(insert, &[&"a", &-1, &None::<String>, &[1.0_f32; 3]]).await), SqlState::CheckViolation),
        (state(session.execute("SELECT 1; SELECT 2", &[]).await), SqlState::SyntaxError),
        (state(session.execute("SELECT $1::int2", &[&70_000]).await), SqlState::NumericValueOutOfRange),
        (state(session.execute("COPY items FROM STDIN", &[]).await), SqlState::FeatureNotSupported),
    ];
    for (at, (found, expected)) in refused.into_iter().enumerate() {
        assert_eq!(found, expected, "refusal {at}");
    }
    assert_eq!(session.execute("", &[]).await.unwrap(), 0);
    assert_eq!(session.execute("UPDATE items SET price = price + $1", &[&1]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_columns_are_computed_for_rows_without_sql() {
    let mut opened = items().await;
    let session = &mut opened.session;
    let table = "CREATE TABLE computed (id bigint, twice bigint GENERATED ALWAYS AS (id * 2) STORED)";
    session.execute_sql(table).await.unwrap();
    let ids: Vec<i64> = (1..=10_000).collect();
    assert_eq!(session.table("computed").insert().column("id", &ids).run().await.unwrap(), 10_000);
    let rows = session.query("SELECT sum(twice)::bigint FROM computed", &[]).await.unwrap();
    assert_eq!(rows.first().unwrap().get::<i64>(0).unwrap(), 100_010_000);
    let given = session.table("computed").insert().column("id", &[1_i64]).column("twice", &[2_i64]);
    assert_eq!(state(given.run().await), SqlState::GeneratedAlways);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_go_in_all_or_none() {
    let mut opened = items().await;
    let session = &mut opened.session;
    let ids: Vec<i64> = (1..=10_000).collect();
    let titles: Vec<String> = ids.iter().map(|id| format!("item {id}")).collect();
    let floats: Vec<f32> = ids.iter().flat_map(|&id| [id as f32, 1.0, -1.0]).collect();
    let run =
        session.table("items").insert().column("id", &ids).column("title", &titles).vectors("embedding", 3, &floats);
    assert_eq!(run.run().await.unwrap(), 10_000);
    let again = session.table("items").insert().column("id", &[20_000_i64, 5]).column("title", &["new", "taken"]);
    assert_eq!(state(again.run().await), SqlState::UniqueViolation);
    let rows = session.query("SELECT count(*), max(id) FROM items", &[]).await.unwrap();
    let row = rows.first().unwrap();
    assert_eq!((row.get::<i64>(0).unwrap(), row.get::<i64>(1).unwrap()), (10_000, 10_000));
    let near = session.table("items").search("embedding", &[500.2, 1.0, -1.0], 3).run().await.unwrap();
    let near: Vec<i64> = near.iter().map(|row| row.get("id").unwrap()).collect();
    assert_eq!(near, [500, 501, 499]);
    let wrong = [
        state(session.table("items").insert().column("title", &["a", "b"]).column("id", &[1_i64]).run().await),
        state(session.table("items").insert().column("title", &["a"]).vectors("embedding", 3, &[1.0]).run().await),
        state(session.table("items").insert().column("title", &["a"]).vectors("embedding", 2, &[1.0, 2.0]).run().await),
        state(session.table("items").insert().column("titel", &["a"]).run().await),
        state(session.table("itmes").insert().column("title", &["a"]).run().await),
    ];
    let expected = [
        SqlState::InvalidParameterValue,
        SqlState::DataException,
        SqlState::DataException,
        SqlState::UndefinedColumn,
        SqlState::UndefinedTable,
    ];
    assert_eq!(wrong, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_the_sql_it_stands_for_finds() {
    let mut opened = items().await;
    let session = &mut opened.session;
    fill(session).await;
    let query = [1.0, 0.0, 0.0];
    let found = session.table("items").search("embedding", &query, 2).metric(Metric::Cosine).run().await.unwrap();
    let by_sql = "SELECT id, title, price, day, embedding <=> $1 AS distance FROM items ORDER BY 5 LIMIT 2";
    let by_sql = session.query(by_sql, &[&query]).await.unwrap();
    let shown = |rows: &super::Rows| -> Vec<Vec<Option<String>>> {
        rows.iter().map(|row| (0..5).map(|at| row.text(at).unwrap()).collect()).collect()
    };
    assert_eq!(shown(&found), shown(&by_sql));
    let names: Vec<&str> = found.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "title", "price", "day", "distance"]);
    let search = session.table("items").search("embedding", &query, 9).columns(&["title"]);
    let found = search.filter("price < $1 OR price IS NULL -- dear ones", &[&10]).run().await.unwrap();
    let found: Vec<(String, Option<f64>)> =
        found.iter().map(|row| (row.get("title").unwrap(), row.get("distance").unwrap())).collect();
    assert_eq!(found.iter().map(|(title, _)| title.as_str()).collect::<Vec<_>>(), ["apple", "pear", "ghost"]);
    assert_eq!(found[2].1, None, "a NULL vector is nowhere");
    let refused = [
        state(session.table("items").search("embedding", &[1.0], 2).run().await),
        state(session.table("items").search("title", &query, 2).run().await),
        state(session.table("items").search("embedding", &query, 2).columns(&["a\", \"b"]).run().await),
        state(
            session
                .table("items")
                .search("embedding", &query, 2)
                .filter("true); DROP TABLE items; --", &[])
                .run()
                .await,
        ),
        state(session.table("nothing").search("embedding", &query, 2).run().await),
    ];
    assert_eq!(refused[0], SqlState::DataException);
    assert_eq!(refused[2..], [SqlState::UndefinedColumn, SqlState::SyntaxError, SqlState::UndefinedTable]);
    assert!(session.table("items").search("embedding", &query, 0).run().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_a_block_are_one_transaction() {
    let mut opened = items().await;
    let mut other = opened.db.session(SessionOptions::default()).unwrap();
    let session = &mut opened.session;
    session.execute("BEGIN", &[]).await.unwrap();
    fill(session).await;
    let query = [1.0, 0.0, 0.0];
    assert_eq!(session.table("items").search("embedding", &query, 9).run().await.unwrap().len(), 4);
    assert_eq!(other.table("items").search("embedding", &query, 9).run().await.unwrap().len(), 0);
    assert_eq!(state(session.table("items").insert().column("id", &[1_i64]).run().await), SqlState::NotNullViolation);
    let after = session.table("items").insert().column("title", &["late"]);
    assert_eq!(state(after.run().await), SqlState::InFailedSqlTransaction);
    session.execute("ROLLBACK", &[]).await.unwrap();
    assert!(session.query("SELECT id FROM items", &[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_leaves_nothing_behind() {
    let mut opened = items().await;
    let mut other = opened.db.session(SessionOptions::default()).unwrap();
    let session = &mut opened.session;
    fill(session).await;
    for block in [false, true] {
        other.execute_sql("BEGIN; UPDATE items SET price = 5 WHERE id = 2").await.unwrap();
        if block {
            session.execute("BEGIN", &[]).await.unwrap();
        }
        // The first row is changed; the second is waited for.
        let waiting = session.execute("UPDATE items SET price = 7 WHERE id IN (1, 2)", &[]);
        assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
        other.execute("ROLLBACK", &[]).await.unwrap();
        let next = session.execute("SELECT 1", &[]).await;
        if block {
            assert_eq!(state(next), SqlState::InFailedSqlTransaction);
            session.execute("ROLLBACK", &[]).await.unwrap();
        } else {
            assert_eq!(next.unwrap(), 1);
        }
        let rows = session.query("SELECT count(*) FROM items WHERE price = 7", &[]).await.unwrap();
        assert_eq!(rows.first().unwrap().get::<i64>(0).unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_everything_unless_it_is_told_to_be_a_role() {
    use crate::Authority;
    let mut opened = items().await;
    fill(&mut opened.session).await;
    let role = |user: &str| {
        let options = SessionOptions { user: user.into(), authority: Authority::Role, ..SessionOptions::default() };
        opened.db.session(options)
    };
    assert_eq!(role("ann").unwrap_err().state(), SqlState::InvalidAuthorizationSpecification);
    opened.session.execute_sql("CREATE ROLE ann; GRANT SELECT ON items TO ann").await.unwrap();
    let mut ann = role("ann").unwrap();
    let found = ann.table("items").search("embedding", &[1.0, 0.0, 0.0], 2).run().await.unwrap();
    assert_eq!(found.len(), 2);
    let inserted = ann.table("items").insert().column("title", &["x"]).run().await;
    assert_eq!(state(inserted), SqlState::InsufficientPrivilege);
    opened.session.execute_sql("REVOKE SELECT ON items FROM ann; GRANT INSERT ON items TO ann").await.unwrap();
    let searched = ann.table("items").search("embedding", &[1.0, 0.0, 0.0], 2).run().await;
    assert_eq!(state(searched), SqlState::InsufficientPrivilege);
    assert_eq!(
        state(ann.table("items").insert().column("title", &["x"]).run().await),
        SqlState::InsufficientPrivilege,
        "the key comes from a sequence"
    );
    assert_eq!(ann.table("items").insert().column("id", &[77_i64]).column("title", &["x"]).run().await.unwrap(), 1);
    // Whatever it is called, a session that is told nothing is the first superuser.
    let options = SessionOptions { user: "ann".into(), ..SessionOptions::default() };
    let mut named = opened.db.session(options).unwrap();
    assert_eq!(named.query("SELECT title FROM items", &[]).await.unwrap().len(), 5);
}
