//! `lodedb check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb::snapshot::repair::repair as repair_files;
use lodedb_wal::fs::{FileSystem, OsFileSystem};
use serde_json::json;
use tokio_postgres::SimpleQueryMessage;

use super::sql::{connect, shown, with_owner};
use super::table::print_table;

const COLUMNS: [&str; 4] = ["relation", "file", "offset", "fault"];

/// Checks through whoever has the database open, prints the faults and gives how many there are.
pub(super) fn check(
    runtime: &tokio::runtime::Runtime,
    data: &Path,
    as_json: bool,
    repair: bool,
    backups: Option<PathBuf>,
) -> Result<usize, String> {
    if repair {
        let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
        let repairs = repair_files(&fs, data, backups).map_err(|error| error.to_string())?;
        for repair in repairs {
            eprintln!("{}: {}", repair.file, repair.done);
        }
    }
    let faults = with_owner(runtime, data, async |socket| {
        let (client, connection) = connect(socket).await?;
        let messages = client.simple_query("CHECK DATABASE").await.map_err(|error| shown(&error))?;
        drop(client);
        // It ends with its client.
        let _ = connection.await;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..COLUMNS.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect::<Vec<Vec<Option<String>>>>())
    })?;
    if as_json {
        let fault = |row: &Vec<Option<String>>| {
            let offset = row[2].as_ref().and_then(|text| text.parse::<u64>().ok());
            json!({ "relation": row[0], "file": row[1], "offset": offset, "fault": row[3] })
        };
        println!("{:#}", serde_json::Value::from(faults.iter().map(fault).collect::<Vec<_>>()));
    } else if faults.is_empty() {
        println!("{}: no faults", data.display());
    } else {
        print_table(&COLUMNS.map(str::to_owned), &faults);
    }
    Ok(faults.len())
}
