//! The example of the README: LodeDB inside a Rust program. `cargo run --release --example embedded -- DIR`.

use std::error::Error;
use std::path::Path;

use lodedb::{Db, Metric, Options, SessionOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "data".to_owned());
    lodedb::runtime()?.block_on(example(Path::new(&dir)))
}

pub(crate) async fn example(dir: &Path) -> Result<(), Box<dyn Error>> {
    let db = Db::open(dir, Options::default())?;
    let mut session = db.session(SessionOptions::default())?;
    session
        .execute("CREATE TABLE items (id bigint PRIMARY KEY, title text, price numeric, embedding vector(3))", &[])
        .await?;

    // Many rows at once, column by column.
    session
        .table("items")
        .insert()
        .column("id", &[1_i64, 2, 3])
        .column("title", &["apple", "pear", "hammer"])
        .column("price", &["1.20", "1.50", "19.00"])
        .vectors("embedding", 3, &[1.0, 0.0, 0.2, 0.9, 0.1, 0.3, 0.0, 1.0, 0.1])
        .run()
        .await?;

    // The nearest rows, without SQL ...
    let query = [1.0_f32, 0.0, 0.0];
    let near = session
        .table("items")
        .search("embedding", &query, 2)
        .metric(Metric::Cosine)
        .filter("price < $1", &[&10])
        .columns(&["title"])
        .run()
        .await?;
    for row in near.iter() {
        println!("{} at {:.3}", row.get::<String>("title")?, row.get::<f64>("distance")?);
    }

    // ... and with it. Rows are also Arrow batches.
    let rows = session
        .query("SELECT title, price FROM items WHERE id <> $1 ORDER BY embedding <-> $2 LIMIT 5", &[&1, &query])
        .await?;
    assert_eq!(rows.batches().iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);

    session.execute("BEGIN", &[]).await?;
    session.execute("DELETE FROM items WHERE title = $1", &[&"hammer"]).await?;
    session.execute("COMMIT", &[]).await?;
    drop(session);
    db.close()?;
    Ok(())
}
