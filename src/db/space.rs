//! Room on the disk: what makes the database larger is refused while too little is left, so that deleting, compacting and committing go on.

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

use super::engine::Engine;

impl Engine {
    /// Whether there is room for more rows, on the disk and in memory.
    pub fn check_room(&self) -> Result<()> {
        self.check_space()?;
        self.check_memory()
    }

    /// Whether there is room for more rows: `53100` while less than `disk_reserve_bytes` are free. It asks the system anew each time (a
    /// microsecond), so that writing goes on as soon as there is.
    pub fn check_space(&self) -> Result<()> {
        self.check_space_for(self.options.disk_reserve_bytes)
    }

    /// Whether so many bytes are free.
    pub fn check_space_for(&self, needed: u64) -> Result<()> {
        let free = match self.files.fs.free_space(&self.dir) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "the system does not say how much room is on the disk");
                return Ok(());
            }
        };
        if free >= needed {
            return Ok(());
        }
        let message = format!(
            "not enough room on the disk of \"{}\": {free} bytes are free, {needed} are needed",
            self.dir.display()
        );
        Err(SqlError::new(SqlState::DiskFull, message)
            .with_hint("Queries, DELETE, TRUNCATE, DROP and VACUUM go on; the rest does once there is room."))
    }
}
