//! Makes statements from the grammar: rounds of them, each on tables of its own.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::grammar::{AGGREGATES, EDGES, FORMS, TYPES, Ty, VALUES};

/// A statement, and what may be said of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    /// Its rows come in one order only.
    pub(crate) ordered: bool,
    /// It changes nothing, so that after a difference the round may go on.
    pub(crate) reads: bool,
    /// The types of its columns are asked for as well.
    pub(crate) described: bool,
}

#[derive(Clone, Debug)]
struct Table {
    name: String,
    /// Beside `id integer`, the key.
    columns: Vec<(String, Ty)>,
    /// Those that are not null.
    filled: Vec<String>,
}

/// The statements of a round: tables, then whatever comes to mind, then all that is in the tables.
pub(crate) fn round(seed: u64, statements: usize) -> Vec<Statement> {
    let mut round = Round {
        rng: StdRng::seed_from_u64(seed),
        tables: Vec::new(),
        scope: Vec::new(),
        made: Vec::new(),
        block: false,
        indexes: 0,
    };
    round.create();
    round.create();
    while round.made.len() < statements {
        round.one();
    }
    if round.block {
        let end = ["COMMIT", "ROLLBACK"][round.rng.random_range(0..2)];
        round.write(end.into());
    }
    for table in round.tables.clone() {
        round.made.push(Statement {
            sql: format!("SELECT * FROM {} ORDER BY id", table.name),
            ordered: true,
            reads: true,
            described: true,
        });
    }
    round.made
}

/// What removes the tables of a round, whether or not they were made.
pub(crate) const CLEANING: &str = "DROP TABLE IF EXISTS t0, t1";

struct Round {
    rng: StdRng,
    tables: Vec<Table>,
    /// The columns an expression may name.
    scope: Vec<(String, Ty)>,
    made: Vec<Statement>,
    /// Within BEGIN.
    block: bool,
    indexes: usize,
}

impl Round {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.rng).expect("something to choose from")
    }

    fn read(&mut self, sql: String, ordered: bool) {
        let described = self.chance(30);
        self.made.push(Statement { sql, ordered, reads: true, described });
    }

    fn write(&mut self, sql: String) {
        self.made.push(Statement { sql, ordered: false, reads: false, described: false });
    }

    fn ty(&mut self) -> Ty {
        self.pick(TYPES).0
    }

    /// A constant of a type.
    fn value(&mut self, ty: Ty) -> String {
        if self.chance(8) {
            return format!("null::{}", row(ty).1);
        }
        let value = self.pick(row(ty).3);
        match ty {
            Ty::I4 if !value.starts_with('-') => value.into(),
            Ty::Text => format!("'{value}'::text"),
            // A bit without a length would be bit(1).
            Ty::Bits => format!("'{value}'::bit(3)"),
            _ => format!("'{value}'::{}", row(ty).1),
        }
    }

    /// An expression of a type that fails nowhere.
    fn expression(&mut self, ty: Ty, depth: usize) -> String {
        let columns: Vec<usize> = (0..self.scope.len()).filter(|at| self.scope[*at].1 == ty).collect();
        if depth == 0 || self.chance(25) {
            if !columns.is_empty() && self.chance(75) {
                let at = self.pick(&columns);
                return self.scope[at].0.clone();
            }
            return self.value(ty);
        }
        let forms: Vec<usize> = (0..FORMS.len()).filter(|at| FORMS[*at].0 == ty).collect();
        let at = self.pick(&forms);
        self.filled(FORMS[at].1, FORMS[at].2, depth)
    }

    fn filled(&mut self, form: &str, inner: &[Ty], depth: usize) -> String {
        let mut parts = form.split("{}");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (part, ty) in parts.zip(inner) {
            text.push_str(&self.expression(*ty, depth.saturating_sub(1)));
            text.push_str(part);
        }
        text
    }

    fn any(&mut self) -> String {
        let ty = self.ty();
        let depth = self.rng.random_range(0..4);
        self.expression(ty, depth)
    }

    fn some(&mut self, most: usize) -> String {
        let count = self.rng.random_range(1..=most);
        let made: Vec<_> = (0..count).map(|_| self.any()).collect();
        made.join(", ")
    }

    fn condition(&mut self) -> String {
        let depth = self.rng.random_range(1..4);
        self.expression(Ty::Bool, depth)
    }

    fn edge(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.pick(EDGES);
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            let letter = rest[at + 1..].chars().next().filter(|_| rest[at + 2..].starts_with('}'));
            let Some((_, values)) = VALUES.iter().find(|(of, _)| Some(*of) == letter) else {
                text.push('{');
                rest = &rest[at + 1..];
                continue;
            };
            let value = self.pick(values);
            text.push_str(&if letter == Some('s') { value.to_owned() } else { format!("'{value}'") });
            rest = &rest[at + 3..];
        }
        text + rest
    }

    fn create(&mut self) {
        let name = format!("t{}", self.tables.len());
        let (mut columns, mut filled) = (Vec::new(), Vec::new());
        let mut declared = vec!["id integer PRIMARY KEY".to_owned()];
        for at in 0..self.rng.random_range(3..8) {
            let (ty, column) = (self.ty(), format!("c{at}"));
            let mut words = format!("{column} {}", row(ty).2);
            if self.chance(20) {
                words.push_str(&format!(" DEFAULT {}", self.value(ty)));
            }
            if self.chance(10) {
                words.push_str(" NOT NULL");
                filled.push(column.clone());
            }
            if ty == Ty::I4 && self.chance(20) {
                words.push_str(&format!(" CHECK ({column} < 5000)"));
            }
            if matches!(ty, Ty::I4 | Ty::Text | Ty::Date) && self.chance(15) {
                words.push_str(" UNIQUE");
            }
            declared.push(words);
            columns.push((column, ty));
        }
        self.write(format!("CREATE TABLE {name} ({})", declared.join(", ")));
        self.tables.push(Table { name, columns, filled });
        let table = self.tables.len() - 1;
        for _ in 0..3 {
            self.insert(table);
        }
    }

    fn table(&mut self) -> usize {
        self.rng.random_range(0..self.tables.len())
    }

    /// Sees the columns of a table, by an alias or without.
    fn see(&mut self, table: usize, alias: &str) {
        let name = |column: &str| if alias.is_empty() { column.to_owned() } else { format!("{alias}.{column}") };
        self.scope.push((name("id"), Ty::I4));
        let columns = self.tables[table].columns.clone();
        self.scope.extend(columns.iter().map(|(column, ty)| (name(column), *ty)));
    }

    fn one(&mut self) {
        self.scope.clear();
        // Statements that fail make all others in their block fail.
        if self.block && self.chance(15) {
            return self.transaction();
        }
        match self.rng.random_range(0..100) {
            14..34 if self.block => self.select(),
            0..14 => {
                let sql = format!("SELECT {}", self.some(3));
                self.read(sql, true);
            }
            14..34 => {
                let sql = format!("SELECT {}", self.edge());
                self.read(sql, true);
            }
            34..50 => self.select(),
            50..58 => self.aggregate(),
            58..63 => self.join(),
            63..67 => self.subquery(),
            67..70 => self.set_operation(),
            70..74 => self.neighbours(),
            74..76 => self.window(),
            76..83 => {
                let table = self.table();
                self.insert(table);
            }
            83..89 => self.update(),
            89..92 => self.delete(),
            92..96 => self.transaction(),
            _ => self.define(),
        }
    }

    fn select(&mut self) {
        self.scope.clear();
        let table = self.table();
        let alias = self.pick(&["", "", "x"]);
        self.see(table, alias);
        // With the table's name, since a column of the result may be called `id` as well.
        let id = format!("{}.id", if alias.is_empty() { &self.tables[table].name } else { alias });
        let list = if self.chance(15) { "*".to_owned() } else { self.some(4) };
        let mut sql = format!("SELECT {list} FROM {} {alias}", self.tables[table].name);
        if self.chance(70) {
            sql.push_str(&format!(" WHERE {}", self.condition()));
        }
        let ordered = self.chance(60);
        if ordered {
            let by = if self.chance(50) {
                format!("{}{}, ", self.sortable(), self.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]))
            } else {
                String::new()
            };
            sql.push_str(&format!(" ORDER BY {by}{id}"));
            if self.chance(40) {
                sql.push_str(&format!(" LIMIT {}", self.pick(&["0", "1", "3", "NULL", "ALL"])));
            }
            if self.chance(20) {
                sql.push_str(" OFFSET 2");
            }
        } else if self.chance(20) {
            sql = sql.replacen("SELECT ", "SELECT DISTINCT ", 1);
        }
        self.read(sql, ordered);
    }

    /// An expression that rows may be sorted by: more than a constant, whose number would be a column's.
    fn sortable(&mut self) -> String {
        let ty = self.pick(&[
            Ty::I4,
            Ty::Text,
            Ty::Num,
            Ty::F8,
            Ty::Date,
            Ty::Tstz,
            Ty::Iv,
            Ty::Bool,
            Ty::Ints,
            Ty::Vec,
            Ty::Bits,
            Ty::Uuid,
        ]);
        let expression = self.expression(ty, 1);
        // The number of a column, with brackets or without.
        if expression.parse::<i64>().is_ok() { "id".into() } else { format!("({expression})") }
    }

    fn aggregate(&mut self) {
        let table = self.table();
        self.see(table, "");
        let mut made = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let (form, inner) = self.pick(AGGREGATES);
            made.push(self.filled(form, inner, 2));
        }
        let list = made.join(", ");
        let mut sql = String::new();
        if self.chance(50) {
            let by = self.pick(&[Ty::I4, Ty::Text, Ty::Bool, Ty::Date]);
            let key = self.expression(by, 2);
            sql = format!("SELECT {key} AS k, {list} FROM {}", self.tables[table].name);
            if self.chance(40) {
                sql.push_str(&format!(" WHERE {}", self.condition()));
            }
            sql.push_str(" GROUP BY 1");
            if self.chance(30) {
                sql.push_str(" HAVING count(*) > 1");
            }
        } else {
            sql.push_str(&format!("SELECT {list} FROM {}", self.tables[table].name));
            if self.chance(40) {
                sql.push_str(&format!(" WHERE {}", self.condition()));
            }
        }
        self.read(sql, false);
    }

    fn join(&mut self) {
        let (left, right) = (self.table(), self.table());
        self.see(left, "x");
        self.see(right, "y");
        let kind = self.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let list = self.some(3);
        let on = if kind != "FULL JOIN" && self.chance(30) { self.condition() } else { "x.id = y.id".into() };
        let mut sql =
            format!("SELECT {list} FROM {} x {kind} {} y ON {on}", self.tables[left].name, self.tables[right].name);
        if self.chance(50) {
            sql.push_str(&format!(" WHERE {}", self.condition()));
        }
        self.read(sql, false);
    }

    fn subquery(&mut self) {
        let (outer, inner) = (self.table(), self.table());
        let (outer_name, inner_name) = (self.tables[outer].name.clone(), self.tables[inner].name.clone());
        self.see(outer, "x");
        let outer_scope = self.scope.clone();
        self.scope.clear();
        self.see(inner, "y");
        let (within, value) = (self.condition(), self.expression(Ty::I4, 2));
        self.scope = outer_scope;
        let (list, mine) = (self.some(2), self.expression(Ty::I4, 2));
        let sql = match self.rng.random_range(0..6) {
            0 => format!(
                "SELECT {list} FROM {outer_name} x WHERE {mine} IN (SELECT {value} FROM {inner_name} y WHERE {within})"
            ),
            1 => format!(
                "SELECT {list} FROM {outer_name} x WHERE EXISTS (SELECT 1 FROM {inner_name} y WHERE y.id = x.id AND {within})"
            ),
            2 => format!(
                "SELECT {list} FROM {outer_name} x WHERE NOT EXISTS (SELECT 1 FROM {inner_name} y WHERE y.id = {mine})"
            ),
            3 => format!("SELECT x.id, (SELECT count(*) FROM {inner_name} y WHERE y.id > x.id) FROM {outer_name} x"),
            4 => format!(
                "WITH y AS (SELECT y.id, {value} AS v FROM {inner_name} y WHERE {within}) SELECT {list}, y.v FROM {outer_name} x JOIN y USING (id)"
            ),
            _ => format!(
                "SELECT s.* FROM (SELECT {list}, {mine} AS k FROM {outer_name} x) AS s WHERE s.k > (SELECT min({value}) FROM {inner_name} y)"
            ),
        };
        self.read(sql, false);
    }

    fn set_operation(&mut self) {
        let (left, right) = (self.table(), self.table());
        // Of one type, or of two that have one in common.
        let (ty, other) = match self.rng.random_range(0..3) {
            0 => self.pick(&[
                (Ty::I4, Ty::Num),
                (Ty::I8, Ty::I4),
                (Ty::F4, Ty::Num),
                (Ty::Num, Ty::F8),
                (Ty::F8, Ty::I4),
                (Ty::Date, Ty::Ts),
                (Ty::Tstz, Ty::Date),
            ]),
            _ => {
                let ty = self.pick(&[Ty::I4, Ty::Text, Ty::Date, Ty::F8, Ty::Num, Ty::Uuid, Ty::Ints, Ty::Vec]);
                (ty, ty)
            }
        };
        self.see(left, "");
        let first = self.expression(ty, 2);
        self.scope.clear();
        self.see(right, "");
        let second = self.expression(other, 2);
        let operation = self.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
        let (left, right) = (&self.tables[left].name, &self.tables[right].name);
        let mut sql = format!("SELECT {first} FROM {left} {operation} SELECT {second} FROM {right}");
        if ty != other && self.chance(50) {
            let computed = if matches!(ty, Ty::Date | Ty::Tstz) { "v + interval '1 hour'" } else { "v + 1" };
            sql = format!("SELECT v, {computed} FROM ({sql}) s (v)");
        }
        self.read(sql, false);
    }

    fn neighbours(&mut self) {
        let (ty, operators): (Ty, &[&str]) = self.pick(&[
            (Ty::Vec, &["<->", "<#>", "<=>", "<+>"] as &[&str]),
            (Ty::Vec, &["<->", "<=>"]),
            (Ty::Half, &["<->", "<#>", "<=>", "<+>"]),
            (Ty::Sparse, &["<->", "<#>", "<=>", "<+>"]),
            (Ty::Bits, &["<~>", "<%>"]),
        ]);
        let table = self.table();
        self.see(table, "");
        let columns: Vec<String> =
            self.scope.iter().filter(|(_, of)| *of == ty).map(|(name, _)| name.clone()).collect();
        let Some(column) = columns.first() else { return self.select() };
        let operator = self.pick(operators);
        self.scope.clear();
        let query = self.value(ty);
        self.see(table, "");
        let filter = if self.chance(50) { format!("WHERE {}", self.condition()) } else { String::new() };
        let name = self.tables[table].name.clone();
        let limit = self.rng.random_range(1..6);
        let sql = format!(
            "SELECT id, {column} {operator} {query} AS d FROM {name} {filter} ORDER BY {column} {operator} {query}, id LIMIT {limit}"
        );
        self.read(sql, true);
    }

    fn window(&mut self) {
        let table = self.table();
        self.see(table, "");
        let (key, value) = (self.expression(Ty::Bool, 1), self.expression(Ty::I4, 2));
        let call = match self.rng.random_range(0..8) {
            0 => format!("row_number() OVER (PARTITION BY {key} ORDER BY id)"),
            1 => format!("rank() OVER (ORDER BY {value})"),
            2 => format!("dense_rank() OVER (ORDER BY {value} DESC)"),
            3 => format!("lag({value}) OVER (ORDER BY id)"),
            4 => format!("lead({value}, 2, 0) OVER (PARTITION BY {key} ORDER BY id)"),
            5 => format!("sum({value}) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"),
            6 => format!("first_value({value}) OVER (PARTITION BY {key} ORDER BY id)"),
            _ => format!("count(*) OVER (PARTITION BY {key})"),
        };
        let sql = format!("SELECT id, {call} FROM {}", self.tables[table].name);
        self.read(sql, false);
    }

    /// Columns of a table that a change names, and a value for each.
    fn assigned(&mut self, table: usize) -> Vec<(String, Ty)> {
        let columns = self.tables[table].columns.clone();
        let mut chosen: Vec<(String, Ty)> =
            columns.iter().filter(|_| self.rng.random_range(0..100) < 75).cloned().collect();
        if chosen.is_empty() {
            chosen.extend(columns.first().cloned());
        }
        chosen
    }

    /// What is stored: sometimes more than the column takes, or no such value.
    fn stored(&mut self, ty: Ty, edges: bool) -> String {
        match (edges, ty) {
            (true, Ty::I2 | Ty::I4) => format!("{}", self.pick(&[40000_i64, 3_000_000_000, 6000])),
            (true, Ty::Num) => "1234567.891".into(),
            (true, Ty::Vec | Ty::Half) => "'[1,2]'".into(),
            (true, Ty::Bits) => "'10'".into(),
            (true, Ty::Date | Ty::Uuid | Ty::Json) => "'nonsense'".into(),
            _ => self.value(ty),
        }
    }

    fn returning(&mut self, table: usize) -> String {
        if !self.chance(25) {
            return String::new();
        }
        if self.chance(40) {
            return " RETURNING *".into();
        }
        self.scope.clear();
        self.see(table, "");
        format!(" RETURNING {}", self.some(2))
    }

    fn insert(&mut self, table: usize) {
        self.scope.clear();
        let columns = self.assigned(table);
        let mut names = vec!["id".to_owned()];
        names.extend(columns.iter().map(|(name, _)| name.clone()));
        // One value or row that fails at most: which of several is met first is nobody's to say.
        let spoiled = if self.chance(6) { self.rng.random_range(0..columns.len()) } else { usize::MAX };
        let filled = self.tables[table].filled.clone();
        let named = |column: &String| columns.iter().any(|(name, _)| name == column);
        let alone = spoiled != usize::MAX || !filled.iter().all(named);
        let count = if alone { 1 } else { self.rng.random_range(1..5) };
        let first = self.rng.random_range(0..60);
        let mut rows = Vec::new();
        for at in 0..count {
            let mut values = vec![(first + at * 7).to_string()];
            for (place, (name, ty)) in columns.iter().enumerate() {
                let mut value = if self.chance(5) { "DEFAULT".into() } else { self.stored(*ty, place == spoiled) };
                while count > 1 && filled.contains(name) && (value == "DEFAULT" || value.starts_with("null")) {
                    value = self.stored(*ty, false);
                }
                values.push(value);
            }
            rows.push(format!("({})", values.join(", ")));
        }
        let name = self.tables[table].name.clone();
        let mut sql = format!("INSERT INTO {name} ({}) VALUES {}", names.join(", "), rows.join(", "));
        match self.rng.random_range(0..10) {
            0..3 => sql.push_str(" ON CONFLICT DO NOTHING"),
            3..6 => {
                let (column, _) = columns[0].clone();
                sql.push_str(&format!(" ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}"));
            }
            _ => {}
        }
        sql.push_str(&self.returning(table));
        self.write(sql);
    }

    fn update(&mut self) {
        let table = self.table();
        let columns = self.assigned(table);
        let mut set = Vec::new();
        self.see(table, "");
        for (column, ty) in columns {
            let value = self.expression(ty, 1);
            set.push(format!("{column} = {value}"));
        }
        let name = self.tables[table].name.clone();
        let mut sql = format!("UPDATE {name} SET {}", set.join(", "));
        if self.chance(80) {
            sql.push_str(&format!(" WHERE {}", self.condition()));
        }
        sql.push_str(&self.returning(table));
        self.write(sql);
    }

    fn delete(&mut self) {
        let table = self.table();
        self.see(table, "");
        let condition = self.condition();
        let some = self.rng.random_range(0..60);
        let name = self.tables[table].name.clone();
        let returning = self.returning(table);
        self.write(format!("DELETE FROM {name} WHERE id > {some} AND {condition}{returning}"));
    }

    fn transaction(&mut self) {
        let sql = if self.block {
            self.pick(&["COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s", "ROLLBACK TO SAVEPOINT s"])
        } else {
            self.pick(&[
                "BEGIN",
                "BEGIN",
                "START TRANSACTION",
                "BEGIN ISOLATION LEVEL REPEATABLE READ",
                "BEGIN READ ONLY",
            ])
        };
        match sql {
            "COMMIT" | "ROLLBACK" => self.block = false,
            _ if !self.block => self.block = true,
            _ => {}
        }
        self.write(sql.into());
    }

    fn define(&mut self) {
        let table = self.table();
        let Table { name, columns, .. } = self.tables[table].clone();
        let (column, ty) = columns[self.rng.random_range(0..columns.len())].clone();
        self.indexes += 1;
        let index = self.indexes;
        let sql = match self.rng.random_range(0..9) {
            0 | 1 if !matches!(ty, Ty::Json | Ty::Vec | Ty::Half | Ty::Sparse) => {
                format!("CREATE INDEX {name}_i{index} ON {name} ({column})")
            }
            2 if matches!(ty, Ty::I4 | Ty::Text | Ty::Date | Ty::Uuid) => {
                format!("CREATE UNIQUE INDEX {name}_i{index} ON {name} ({column})")
            }
            3 => format!("DROP INDEX IF EXISTS {name}_i{}", self.rng.random_range(1..=index)),
            4 if ty == Ty::Vec => format!(
                "CREATE INDEX {name}_i{index} ON {name} USING ivfflat ({column} vector_l2_ops) WITH (lists = 1)"
            ),
            5 => format!("ALTER TABLE {name} ADD COLUMN c0 integer"),
            6 => format!("ALTER TABLE {name} ALTER COLUMN {column} SET NOT NULL"),
            7 => format!("ALTER TABLE {name} ALTER COLUMN {column} DROP NOT NULL"),
            8 => format!("TRUNCATE {name}x"),
            _ => format!("SELECT count(*), count({column}) FROM {name}"),
        };
        self.write(sql);
    }
}

fn row(ty: Ty) -> (Ty, &'static str, &'static str, &'static [&'static str]) {
    *TYPES.iter().find(|(of, ..)| *of == ty).expect("every type has a row")
}
