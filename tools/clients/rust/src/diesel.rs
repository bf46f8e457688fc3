//! Uses a server as programs with diesel do, and stops at the first thing that is not right. Called with the URL.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use pgvector::{Vector, VectorExpressionMethods};

diesel::table! {
    use diesel::sql_types::*;
    use pgvector::sql_types::*;

    diesel_items (id) {
        id -> Int4,
        word -> Text,
        v -> Nullable<Vector>,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Insertable, Selectable)]
#[diesel(table_name = diesel_items)]
struct Item {
    id: i32,
    word: String,
    v: Option<Vector>,
}

fn item(id: i32) -> Item {
    Item { id, word: format!("w{id}"), v: Some(Vector::from(vec![id as f32, 0.0])) }
}

fn main() -> QueryResult<()> {
    use crate::diesel_items::dsl::{diesel_items, id, v, word};
    let url = std::env::args().nth(1).expect("the URL");
    let mut conn = PgConnection::establish(&url).expect("a connection");
    conn.batch_execute("CREATE TABLE diesel_items (id int PRIMARY KEY, word text NOT NULL, v vector(2))")?;

    let items: Vec<Item> = (0..20).map(item).collect();
    assert_eq!(diesel::insert_into(diesel_items).values(&items).execute(&mut conn)?, 20);
    let near: Vec<Item> = diesel_items
        .order(v.l2_distance(Vector::from(vec![2.2, 0.0])))
        .limit(2)
        .select(Item::as_select())
        .load(&mut conn)?;
    assert_eq!(near, [item(2), item(3)]);

    let returned: String =
        diesel::update(diesel_items.find(4)).set(word.eq("four")).returning(word).get_result(&mut conn)?;
    assert_eq!(returned, "four");
    let upserted: i32 = diesel::insert_into(diesel_items)
        .values(&item(5))
        .on_conflict(id)
        .do_update()
        .set(word.eq("five"))
        .returning(id)
        .get_result(&mut conn)?;
    assert_eq!(upserted, 5);

    let refused = conn.transaction::<(), Error, _>(|conn| {
        diesel::delete(diesel_items.filter(id.lt(10))).execute(conn)?;
        // A savepoint within.
        let taken = conn
            .transaction::<usize, Error, _>(|conn| diesel::insert_into(diesel_items).values(&item(15)).execute(conn));
        match taken {
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, info)) => {
                assert_eq!(info.constraint_name(), Some("diesel_items_pkey"));
            }
            other => panic!("a key was taken twice: {other:?}"),
        }
        assert_eq!(diesel_items.count().get_result::<i64>(conn)?, 10);
        Err(Error::RollbackTransaction)
    });
    assert_eq!(refused, Err(Error::RollbackTransaction));
    assert_eq!(diesel_items.count().get_result::<i64>(&mut conn)?, 20);

    let words: Vec<String> = diesel_items.filter(id.eq_any([4, 5, 6])).order(id).select(word).load(&mut conn)?;
    assert_eq!(words, ["four", "five", "w6"]);
    println!("all held");
    Ok(())
}
