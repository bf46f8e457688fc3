//! What outlives the process: manifests, the files they name, and how a database is opened from them.
//!
//! - [`manifest`]: one generation of the database's state at one commit.
//! - [`backup`]: whole copies elsewhere, and databases out of them.
//! - [`check`]: whether everything on disk is as it should be.
//! - [`checkpoint`]: writing the next generation and letting the log before it go.
//! - [`cleanup`]: removing the files that neither the kept manifests nor the kept log can name.
//! - [`recovery`]: from the newest generation that verifies, through the log, to the newest state.
//! - [`repair`]: putting damaged files back from backups.
//! - [`scrub`]: reading every file now and then, to find rot in time.
//! - [`files`]: where the files of segments and quantizers are.
//!
//! INVARIANT 6: every file a manifest names was durable before the manifest.
//! INVARIANT 7: the log is kept from the oldest retained manifest on, and so is every file it or they may name.

pub mod backup;
pub mod check;
pub mod checkpoint;
pub mod cleanup;
pub mod files;
mod framed;
pub mod manifest;
pub mod recovery;
pub mod repair;
pub mod scrub;

#[cfg(test)]
mod tests;
