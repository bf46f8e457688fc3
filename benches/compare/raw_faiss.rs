//! The raw peer: FAISS called in this process, its fast-scan candidates re-ranked exactly from the vectors in memory.

use std::ffi::{CString, c_int};
use std::ptr;

use faiss_sys as ffi;

use crate::glove::{Glove, K, dot};
use crate::wire::Result;

/// FAISS's own words for the index.
pub(crate) const DESCRIPTION: &str = "IVF1024,PQ50x4fs";
/// How many candidates are re-ranked.
pub(crate) const CANDIDATES: usize = 200;

unsafe extern "C" {
    fn omp_set_num_threads(threads: c_int);
}

/// An index over the rows of length 1.
pub(crate) struct RawFaiss {
    index: *mut ffi::FaissIndex,
}

// SAFETY: a FAISS CPU index has no thread affinity, and concurrent searches of one that nobody changes are allowed.
unsafe impl Sync for RawFaiss {}
// SAFETY: as above.
unsafe impl Send for RawFaiss {}

fn checked(status: c_int) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(format!("FAISS: status {status}")) }
}

impl RawFaiss {
    /// Trains and fills an index with two threads.
    pub(crate) fn build(glove: &Glove) -> Result<Self> {
        let description = CString::new(DESCRIPTION).map_err(|error| error.to_string())?;
        let mut index = ptr::null_mut();
        let (rows, vectors) = (glove.len() as i64, glove.unit.as_ptr());
        // SAFETY: the text is terminated; `index` receives an owned index; `rows * d` floats lie behind the pointer.
        unsafe {
            omp_set_num_threads(2);
            let metric = ffi::FaissMetricType_METRIC_INNER_PRODUCT;
            checked(ffi::faiss_index_factory(&mut index, glove.d as c_int, description.as_ptr(), metric))?;
            checked(ffi::faiss_Index_train(index, rows, vectors))?;
            checked(ffi::faiss_Index_add(index, rows, vectors))?;
        }
        Ok(Self { index })
    }

    /// Sets how many lists a search visits.
    pub(crate) fn set_probes(&mut self, probes: usize) {
        // SAFETY: the index is an IVF index, exclusive by `&mut self`.
        unsafe { ffi::faiss_IndexIVF_set_nprobe(ffi::faiss_IndexIVF_cast(self.index), probes) }
    }

    /// Lets FAISS start no threads for what this thread asks of it.
    pub(crate) fn enter_thread() {
        // SAFETY: sets a variable of the calling thread.
        unsafe { omp_set_num_threads(1) }
    }

    /// The nearest rows, best first.
    pub(crate) fn search(&self, glove: &Glove, query: &[f32], found: &mut Vec<u32>) -> Result<()> {
        let (mut labels, mut near) = ([-1i64; CANDIDATES], [0f32; CANDIDATES]);
        // SAFETY: one query of `d` floats; room for as many results as are asked for.
        checked(unsafe {
            let k = CANDIDATES as i64;
            ffi::faiss_Index_search(self.index, 1, query.as_ptr(), k, near.as_mut_ptr(), labels.as_mut_ptr())
        })?;
        let row = |label: i64| &glove.unit[label as usize * glove.d..][..glove.d];
        #[cfg(target_arch = "x86_64")]
        for &label in labels.iter().filter(|&&label| label >= 0) {
            for line in row(label).chunks(16) {
                // SAFETY: a prefetch reads nothing, and the address is inside the slice.
                unsafe { std::arch::x86_64::_mm_prefetch(line.as_ptr().cast(), std::arch::x86_64::_MM_HINT_T0) }
            }
        }
        let mut best: Vec<(f32, u32)> =
            labels.iter().filter(|&&label| label >= 0).map(|&label| (-dot(query, row(label)), label as u32)).collect();
        if best.len() > K {
            best.select_nth_unstable_by(K - 1, |a, b| a.0.total_cmp(&b.0));
            best.truncate(K);
        }
        best.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        found.clear();
        found.extend(best.iter().map(|b| b.1));
        Ok(())
    }
}

impl Drop for RawFaiss {
    fn drop(&mut self) {
        // SAFETY: we own the index, and this is its only release.
        unsafe { ffi::faiss_Index_free(self.index) }
    }
}
