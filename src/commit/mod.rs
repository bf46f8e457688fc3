//! Committing: overlays, locks, the log records, applying them, publishing the view.

pub mod locks;
