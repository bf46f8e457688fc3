//! Stand-in until the FAISS fence lands.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_wal::fs::FileSystem;
use serde::{Deserialize, Serialize};

use super::calibrate::Calibration;
use super::error::SegmentError;
use super::sealed::Sealed;
use super::spec::IndexSpec;
use super::view::SegmentView;
use super::{ColumnId, IndexId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizerFiles { pub generation: u64, pub calibration: Option<Calibration> }
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexFiles {}
#[derive(Debug)]
pub struct Quantizer;
#[derive(Debug)]
pub struct SegmentIndex;
impl Quantizer {
    pub fn train(_: &IndexSpec, _: u64, _: &[&SegmentView], _: &dyn Fn(f64), _: &AtomicBool) -> Result<Option<Self>, SegmentError> { Ok(None) }
    pub fn trained_rows(&self) -> u64 { 0 }
    pub fn generation(&self) -> u64 { 0 }
    pub fn open(_: &Arc<dyn FileSystem>, _: &Path, _: &QuantizerFiles) -> Result<Self, SegmentError> { Ok(Self) }
    pub fn save(&self, _: &dyn FileSystem, _: &Path, _: Option<&Calibration>) -> Result<QuantizerFiles, SegmentError> { Ok(QuantizerFiles { generation: 0, calibration: None }) }
}
impl SegmentIndex {
    pub fn build(_: &Arc<Quantizer>, _: &Arc<Sealed>, _: ColumnId, _: &dyn Fn(f64), _: &AtomicBool) -> Result<Self, SegmentError> { Ok(Self) }
    pub fn save(&self, _: &dyn FileSystem, _: &Path, _: IndexId) -> Result<IndexFiles, SegmentError> { Ok(IndexFiles {}) }
    pub fn open(_: &Arc<dyn FileSystem>, _: &Path, _: &IndexFiles, _: &Quantizer) -> Result<Self, SegmentError> { Ok(Self) }
    pub fn bytes(&self) -> usize { 0 }
}
