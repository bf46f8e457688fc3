//! Uses a server as programs with sqlx do, and stops at the first thing that is not right. Called with the URL.

use pgvector::{HalfVector, Vector};
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, Executor, Row};

type Outcome = Result<(), sqlx::Error>;

async fn values(conn: &mut PgConnection) -> Outcome {
    let sql = "SELECT $1::smallint, $2::bigint, $3::float8, $4::bool, $5::text, $6::bytea, $7::int[], $8::text";
    let row = sqlx::query(sql)
        .bind(-3i16)
        .bind(1i64 << 40)
        .bind(0.1f64)
        .bind(true)
        .bind("grün '")
        .bind(vec![0u8, 255])
        .bind(vec![Some(1i32), None, Some(3)])
        .bind(Option::<String>::None)
        .fetch_one(conn)
        .await?;
    assert_eq!(row.get::<i16, _>(0), -3);
    assert_eq!(row.get::<i64, _>(1), 1 << 40);
    assert_eq!(row.get::<f64, _>(2), 0.1);
    assert!(row.get::<bool, _>(3));
    assert_eq!(row.get::<String, _>(4), "grün '");
    assert_eq!(row.get::<Vec<u8>, _>(5), [0, 255]);
    assert_eq!(row.get::<Vec<Option<i32>>, _>(6), [Some(1), None, Some(3)]);
    assert_eq!(row.get::<Option<String>, _>(7), None);
    Ok(())
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Item {
    id: i32,
    word: String,
    v: Option<Vector>,
}

async fn vectors(conn: &mut PgConnection) -> Outcome {
    conn.execute("CREATE TABLE sqlx (id int PRIMARY KEY, word text NOT NULL, v vector(2), h halfvec(2))").await?;
    for id in 0..20 {
        let (v, h) = (Vector::from(vec![id as f32, 0.0]), HalfVector::from_f32_slice(&[id as f32, 1.0]));
        let insert = sqlx::query("INSERT INTO sqlx VALUES ($1, $2, $3, $4)").bind(id).bind(format!("w{id}"));
        assert_eq!(insert.bind(v).bind(h).execute(&mut *conn).await?.rows_affected(), 1);
    }
    let query = Vector::from(vec![2.2, 0.0]);
    let near: Vec<Item> = sqlx::query_as("SELECT id, word, v FROM sqlx ORDER BY v <-> $1 LIMIT 2")
        .bind(query)
        .fetch_all(&mut *conn)
        .await?;
    let item = |id: i32| Item { id, word: format!("w{id}"), v: Some(Vector::from(vec![id as f32, 0.0])) };
    assert_eq!(near, [item(2), item(3)]);
    let half: HalfVector = sqlx::query_scalar("SELECT h FROM sqlx ORDER BY h <-> $1 LIMIT 1")
        .bind(HalfVector::from_f32_slice(&[7.1, 1.0]))
        .fetch_one(&mut *conn)
        .await?;
    assert_eq!(half, HalfVector::from_f32_slice(&[7.0, 1.0]));
    Ok(())
}

async fn transactions(conn: &mut PgConnection) -> Outcome {
    let mut tx = conn.begin().await?;
    sqlx::query("DELETE FROM sqlx WHERE id = 1").execute(&mut *tx).await?;
    let mut inner = tx.begin().await?;
    let taken = sqlx::query("INSERT INTO sqlx VALUES (2, 'again')").execute(&mut *inner).await;
    let taken = taken.expect_err("a key was taken twice");
    let taken = taken.as_database_error().expect("an error of the server");
    assert_eq!((taken.code().as_deref(), taken.constraint()), (Some("23505"), Some("sqlx_pkey")));
    inner.rollback().await?;
    assert_eq!(sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sqlx").fetch_one(&mut *tx).await?, 19);
    tx.rollback().await?;
    assert_eq!(sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sqlx").fetch_one(conn).await?, 20);
    Ok(())
}

async fn copies(conn: &mut PgConnection) -> Outcome {
    let mut copy = conn.copy_in_raw("COPY sqlx (id, word) FROM STDIN").await?;
    copy.send("100\ta\n101\tb\n".as_bytes()).await?;
    assert_eq!(copy.finish().await?, 2);
    Ok(())
}

async fn pool_and_notifications(url: &str) -> Outcome {
    let pool = PgPoolOptions::new().max_connections(3).connect(url).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("here").await?;
    sqlx::query("SELECT pg_notify('here', 'word')").execute(&pool).await?;
    let heard = listener.recv().await?;
    assert_eq!((heard.channel(), heard.payload()), ("here", "word"));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let url = std::env::args().nth(1).expect("the URL");
    let mut conn = PgConnection::connect(&url).await?;
    values(&mut conn).await?;
    vectors(&mut conn).await?;
    transactions(&mut conn).await?;
    copies(&mut conn).await?;
    conn.close().await?;
    pool_and_notifications(&url).await?;
    println!("all held");
    Ok(())
}
