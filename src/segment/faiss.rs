//! The fence around FAISS: the few calls we make of its C API, each with its lengths checked before and its error text copied after.
//!
//! What FAISS does in the version of [`VERSION`] that the callers rely on:
//!
//! - a search of one query starts no threads; training and adding use as many as [`Threads::enter`] allows;
//! - searches of one index may run concurrently while nothing changes it: every method here that changes one takes `&mut self`;
//! - a graph search explores as many candidates as it is asked for, so HNSW's effort is the number of candidates;
//! - fast-scan lists honour a selector, asked only for codes that beat the candidates so far.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::fmt;
use std::io::Read;
use std::ptr::{self, NonNull};

use faiss_sys as ffi;
use lodedb_sql::error::{Result, SqlError, SqlState};

unsafe extern "C" {
    fn omp_set_num_threads(threads: c_int);
    fn omp_get_max_threads() -> c_int;
}

/// The FAISS this is written for. Files hold indexes in its own form, which `merge` takes apart, so another one is not taken for it.
pub const VERSION: &str = "1.12.0";

/// Refuses another FAISS than the one of [`VERSION`].
pub fn check_version() -> Result<()> {
    // SAFETY: a text of the library's own that is there for as long as the library.
    let linked = unsafe { CStr::from_ptr(ffi::faiss_get_version()) }.to_string_lossy();
    if linked == VERSION {
        return Ok(());
    }
    Err(SqlError::internal(format!("this build is for FAISS {VERSION} and was linked with {linked}")))
}

/// How many threads FAISS may use for what the current thread asks of it, until this is dropped.
pub(super) struct Threads(c_int);

impl Threads {
    /// Lets FAISS use this many threads.
    pub(super) fn enter(threads: usize) -> Self {
        // SAFETY: plain calls of the OpenMP runtime; they set a variable of the calling thread.
        unsafe {
            let before = omp_get_max_threads();
            omp_set_num_threads(threads.clamp(1, 1024) as c_int);
            Self(before)
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: as in `enter`.
        unsafe { omp_set_num_threads(self.0.max(1)) }
    }
}

/// How FAISS compares: the two metrics that all our kinds of code know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeMetric {
    L2,
    InnerProduct,
}

/// Turns a status into an error, with FAISS's text copied before another call can replace it.
fn checked(status: c_int) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the text, if any, belongs to the exception that FAISS keeps for this thread until its next failure.
    let text = unsafe {
        let text = ffi::faiss_get_last_error();
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    let state =
        if status == -4 && text.contains("bad_alloc") { SqlState::OutOfMemory } else { SqlState::InternalError };
    let reason = text.lines().next().unwrap_or_default();
    Err(SqlError::new(state, format!("vector index: {reason}")))
}

fn null() -> SqlError {
    SqlError::internal("vector index: FAISS gave no object")
}

/// Which labels a search may return: one bit each, lowest first. The words live as long as the search.
#[derive(Clone, Copy)]
pub(super) struct Allowed<'a>(pub(super) &'a [u64]);

/// An index of FAISS.
pub(super) struct Index {
    raw: NonNull<ffi::FaissIndex>,
    d: usize,
}

// SAFETY: a FAISS CPU index is plain memory without thread affinity; its const calls may run concurrently (its only shared writes are
// global statistics counters, which nothing reads); calls that change it take `&mut self`.
unsafe impl Send for Index {}
// SAFETY: as above.
unsafe impl Sync for Index {}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} x {})", self.ntotal(), self.d)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: we own the index, and this is its only release.
        unsafe { ffi::faiss_Index_free(self.raw.as_ptr()) }
    }
}

impl Index {
    fn own(raw: *mut ffi::FaissIndex) -> Result<Self> {
        let raw = NonNull::new(raw).ok_or_else(null)?;
        // SAFETY: FAISS has just given us this index.
        let d = unsafe { ffi::faiss_Index_d(raw.as_ptr()) };
        Ok(Self { raw, d: usize::try_from(d).map_err(|_| null())? })
    }

    /// An untrained index, as FAISS's index factory describes them.
    pub(super) fn factory(d: usize, description: &str, metric: CodeMetric) -> Result<Self> {
        let d = c_int::try_from(d).map_err(|_| SqlError::internal("too many dimensions"))?;
        let description = CString::new(description).map_err(SqlError::internal)?;
        let metric = match metric {
            CodeMetric::L2 => ffi::FaissMetricType_METRIC_L2,
            CodeMetric::InnerProduct => ffi::FaissMetricType_METRIC_INNER_PRODUCT,
        };
        let mut raw = ptr::null_mut();
        // SAFETY: the text is terminated and outlives the call; `raw` receives an owned index.
        checked(unsafe { ffi::faiss_index_factory(&mut raw, d, description.as_ptr(), metric) })?;
        Self::own(raw)
    }

    pub(super) fn d(&self) -> usize {
        self.d
    }
    pub(super) fn ntotal(&self) -> u64 {
        // SAFETY: a getter of a live index.
        unsafe { ffi::faiss_Index_ntotal(self.raw.as_ptr()) }.max(0) as u64
    }
    pub(super) fn is_trained(&self) -> bool {
        // SAFETY: a getter of a live index.
        unsafe { ffi::faiss_Index_is_trained(self.raw.as_ptr()) != 0 }
    }
    pub(super) fn metric(&self) -> Option<CodeMetric> {
        // SAFETY: a getter of a live index.
        match unsafe { ffi::faiss_Index_metric_type(self.raw.as_ptr()) } {
            ffi::FaissMetricType_METRIC_L2 => Some(CodeMetric::L2),
            ffi::FaissMetricType_METRIC_INNER_PRODUCT => Some(CodeMetric::InnerProduct),
            _ => None,
        }
    }

    fn ivf(&self) -> Option<NonNull<ffi::FaissIndexIVF>> {
        // SAFETY: a checked downcast of a live index; null when it has no lists.
        NonNull::new(unsafe { ffi::faiss_IndexIVF_cast(self.raw.as_ptr()) })
    }

    /// How many inverted lists there are; 0 when it has none.
    pub(super) fn lists(&self) -> usize {
        // SAFETY: a getter of a live index.
        self.ivf().map_or(0, |ivf| unsafe { ffi::faiss_IndexIVF_nlist(ivf.as_ptr()) })
    }

    /// The list that each label below `labels` is in; `None` for a label that is in none.
    pub(super) fn lists_of_labels(&self, labels: usize) -> Vec<Option<u32>> {
        let mut lists = vec![None; labels];
        let Some(ivf) = self.ivf() else { return lists };
        let mut members: Vec<i64> = Vec::new();
        for list in 0..self.lists() {
            // SAFETY: a getter of a live index, of one of its lists.
            let size = unsafe { ffi::faiss_IndexIVF_get_list_size(ivf.as_ptr(), list) };
            members.resize(size, -1);
            // SAFETY: FAISS writes as many labels as the list has, which there is room for.
            unsafe { ffi::faiss_IndexIVF_invlists_get_ids(ivf.as_ptr(), list, members.as_mut_ptr()) };
            for &label in &members {
                if let Some(place) = usize::try_from(label).ok().and_then(|label| lists.get_mut(label)) {
                    *place = Some(list as u32);
                }
            }
        }
        lists
    }

    /// Sets how many lists [`Index::search_lists`] is given.
    pub(super) fn set_given_lists(&mut self, lists: usize) {
        if let Some(ivf) = self.ivf() {
            // SAFETY: a setter of a live index, exclusive by `&mut self`.
            unsafe { ffi::faiss_IndexIVF_set_nprobe(ivf.as_ptr(), lists) }
        }
    }

    /// How many lists [`Index::search_lists`] must be given.
    pub(super) fn given_lists(&self) -> usize {
        // SAFETY: a getter of a live index.
        self.ivf().map_or(0, |ivf| unsafe { ffi::faiss_IndexIVF_nprobe(ivf.as_ptr()) })
    }

    /// Sets a parameter by FAISS's name for it.
    pub(super) fn set_parameter(&mut self, name: &str, value: f64) -> Result<()> {
        let name = CString::new(name).map_err(SqlError::internal)?;
        let mut space = ptr::null_mut();
        // SAFETY: `space` receives an owned object, used and freed here; the name is terminated; the index is exclusive by `&mut self`.
        unsafe {
            checked(ffi::faiss_ParameterSpace_new(&mut space))?;
            let set =
                checked(ffi::faiss_ParameterSpace_set_index_parameter(space, self.raw.as_ptr(), name.as_ptr(), value));
            ffi::faiss_ParameterSpace_free(space);
            set
        }
    }

    fn rows_of(&self, vectors: &[f32]) -> Result<i64> {
        if self.d == 0 || !vectors.len().is_multiple_of(self.d) {
            return Err(SqlError::internal(format!(
                "{} floats are no vectors of {} dimensions",
                vectors.len(),
                self.d
            )));
        }
        Ok((vectors.len() / self.d) as i64)
    }

    /// Trains on these vectors. Cannot be interrupted.
    pub(super) fn train(&mut self, vectors: &[f32]) -> Result<()> {
        let rows = self.rows_of(vectors)?;
        // SAFETY: `rows * d` floats lie behind the pointer.
        checked(unsafe { ffi::faiss_Index_train(self.raw.as_ptr(), rows, vectors.as_ptr()) })
    }

    /// Adds vectors under the labels that follow those it has.
    pub(super) fn add(&mut self, vectors: &[f32]) -> Result<()> {
        let rows = self.rows_of(vectors)?;
        self.trained()?;
        // SAFETY: `rows * d` floats lie behind the pointer.
        checked(unsafe { ffi::faiss_Index_add(self.raw.as_ptr(), rows, vectors.as_ptr()) })
    }

    /// Adds vectors under these labels.
    pub(super) fn add_labelled(&mut self, vectors: &[f32], labels: &[i64]) -> Result<()> {
        let rows = self.rows_of(vectors)?;
        self.trained()?;
        if labels.len() as i64 != rows {
            return Err(SqlError::internal("labels and vectors differ in number"));
        }
        // SAFETY: `rows * d` floats and `rows` labels lie behind the pointers.
        checked(unsafe { ffi::faiss_Index_add_with_ids(self.raw.as_ptr(), rows, vectors.as_ptr(), labels.as_ptr()) })
    }

    fn trained(&self) -> Result<()> {
        if self.is_trained() { Ok(()) } else { Err(SqlError::internal("vector index is not trained")) }
    }

    fn check_search(&self, query: &[f32], distances: &[f32], labels: &[i64]) -> Result<()> {
        if query.len() != self.d || distances.is_empty() || distances.len() != labels.len() {
            return Err(SqlError::internal("a search of the vector index has buffers of wrong length"));
        }
        self.trained()
    }

    /// Fills `distances` and `labels` with the nearest codes, best first; labels of -1 where there were fewer. `probes` lists are
    /// visited, if there are lists.
    pub(super) fn search(
        &self,
        query: &[f32],
        probes: usize,
        allowed: Option<Allowed<'_>>,
        distances: &mut [f32],
        labels: &mut [i64],
    ) -> Result<()> {
        self.check_search(query, distances, labels)?;
        let mut bitmap = ptr::null_mut();
        if let Some(Allowed(words)) = allowed {
            // SAFETY: the selector keeps the pointer; `words` outlives the search and the selector, which is freed below.
            checked(unsafe { ffi::faiss_IDSelectorBitmap_new(&mut bitmap, words.len() * 8, words.as_ptr().cast()) })?;
        }
        let mut params = ptr::null_mut();
        // SAFETY: a bitmap selector is a selector (its C type is an alias in FAISS: a derived class by pointer); `params` receives an
        // owned object that refers to the selector; both are freed below, after the search and on every path.
        unsafe {
            let made = if self.ivf().is_some() {
                checked(ffi::faiss_SearchParametersIVF_new_with(
                    &mut params,
                    bitmap.cast(),
                    probes.clamp(1, self.lists()),
                    0,
                ))
            } else {
                checked(ffi::faiss_SearchParameters_new(&mut params, bitmap.cast()))
            };
            let searched = made.and_then(|()| {
                checked(ffi::faiss_Index_search_with_params(
                    self.raw.as_ptr(),
                    1,
                    query.as_ptr(),
                    labels.len() as i64,
                    params,
                    distances.as_mut_ptr(),
                    labels.as_mut_ptr(),
                ))
            });
            if !params.is_null() {
                ffi::faiss_SearchParameters_free(params);
            }
            if !bitmap.is_null() {
                ffi::faiss_IDSelectorBitmap_free(bitmap);
            }
            searched
        }
    }

    /// The lists nearest to a query with their distances, best first; -1 where there are fewer.
    pub(super) fn nearest_lists(&self, query: &[f32], distances: &mut [f32], lists: &mut [i64]) -> Result<()> {
        self.check_search(query, distances, lists)?;
        let ivf = self.ivf().ok_or_else(null)?;
        // SAFETY: the coarse quantizer belongs to the live index and has the same dimensions; the buffers hold `lists.len()` each.
        unsafe {
            let coarse = ffi::faiss_IndexIVF_quantizer(ivf.as_ptr());
            if coarse.is_null() {
                return Err(null());
            }
            let k = lists.len() as i64;
            checked(ffi::faiss_Index_search(coarse, 1, query.as_ptr(), k, distances.as_mut_ptr(), lists.as_mut_ptr()))
        }
    }

    /// As [`Index::search`], of the lists that [`Index::nearest_lists`] gave; exactly [`Index::given_lists`] of them, -1 for none.
    pub(super) fn search_lists(
        &self,
        query: &[f32],
        lists: &[i64],
        list_distances: &[f32],
        distances: &mut [f32],
        labels: &mut [i64],
    ) -> Result<()> {
        self.check_search(query, distances, labels)?;
        let ivf = self.ivf().ok_or_else(null)?;
        let known = self.lists() as i64;
        if lists.len() != self.given_lists() || list_distances.len() != lists.len() || lists.iter().any(|&l| l >= known)
        {
            return Err(SqlError::internal("a search of the vector index was given wrong lists"));
        }
        // SAFETY: FAISS reads `nprobe` lists and distances, which is what was checked, each list below `nlist`; the results hold
        // `labels.len()` each.
        checked(unsafe {
            ffi::faiss_IndexIVF_search_preassigned(
                ivf.as_ptr(),
                1,
                query.as_ptr(),
                labels.len() as i64,
                lists.as_ptr(),
                list_distances.as_ptr(),
                distances.as_mut_ptr(),
                labels.as_mut_ptr(),
                0,
            )
        })
    }

    /// FAISS's own serialisation.
    pub(super) fn write(&self) -> Result<Vec<u8>> {
        WRITTEN.with_borrow_mut(Vec::clear);
        let mut writer = ptr::null_mut();
        // SAFETY: `writer` receives an owned object, used and freed here; the callback is called on this thread during the call.
        unsafe {
            checked(ffi::faiss_CustomIOWriter_new(&mut writer, Some(append_written)))?;
            let written = checked(ffi::faiss_write_index_custom(self.raw.as_ptr(), writer.cast(), 0));
            ffi::faiss_CustomIOWriter_free(writer);
            written?;
        }
        Ok(WRITTEN.with_borrow_mut(std::mem::take))
    }

    /// Reads what [`Index::write`] gave, to its end. The bytes must have been checked: FAISS has no checksum and trusts what it reads. The
    /// caller compares dimensions, lists and rows afterwards.
    pub(super) fn read(from: &mut dyn Read, fourcc: &[u8; 4]) -> Result<Self> {
        let corrupted = |what: &str| SqlError::new(SqlState::DataCorrupted, format!("vector index: {what}"));
        let mut kind = [0; 4];
        from.read_exact(&mut kind).map_err(|error| corrupted(&error.to_string()))?;
        if kind != *fourcc {
            return Err(corrupted("it is of another kind"));
        }
        let mut bytes = (&kind[..]).chain(&mut *from);
        let mut source = Source { bytes: &mut bytes, error: None };
        let (mut reader, mut raw) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: `reader` receives an owned object, used and freed here; the callback is called on this thread during the call, while
        // `source` lives and nothing else uses it; the pointer to it is taken away before it goes.
        let read = unsafe {
            TO_READ.set(ptr::from_mut(&mut source).cast());
            let read = checked(ffi::faiss_CustomIOReader_new(&mut reader, Some(take_to_read))).and_then(|()| {
                let read = checked(ffi::faiss_read_index_custom(reader.cast(), 0, &mut raw));
                ffi::faiss_CustomIOReader_free(reader);
                read
            });
            TO_READ.set(ptr::null_mut());
            read
        };
        if let Some(error) = source.error {
            return Err(corrupted(&error.to_string()));
        }
        read?;
        let index = Self::own(raw)?;
        match from.read(&mut [0]) {
            Ok(0) => Ok(index),
            Ok(_) => Err(corrupted("bytes are left over")),
            Err(error) => Err(corrupted(&error.to_string())),
        }
    }
}

/// Where FAISS reads from.
struct Source<'a> {
    bytes: &'a mut dyn Read,
    error: Option<std::io::Error>,
}

thread_local! {
    /// FAISS's callbacks carry no context, so what they work on is the thread's.
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// A [`Source`], while one is read.
    static TO_READ: std::cell::Cell<*mut c_void> = const { std::cell::Cell::new(ptr::null_mut()) };
}

unsafe extern "C" fn append_written(data: *const c_void, size: usize, items: usize) -> usize {
    let Some(len) = size.checked_mul(items) else { return 0 };
    if len == 0 {
        return items;
    }
    WRITTEN.with_borrow_mut(|written| {
        if written.try_reserve(len).is_err() {
            return 0;
        }
        // SAFETY: FAISS passes `size * items` readable bytes.
        written.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) });
        items
    })
}

unsafe extern "C" fn take_to_read(into: *mut c_void, size: usize, items: usize) -> usize {
    let source = TO_READ.get().cast::<Source<'_>>();
    let Some(len) = size.checked_mul(items).filter(|_| !source.is_null()) else { return 0 };
    if len == 0 {
        return items;
    }
    // SAFETY: `Index::read` above us owns the source and does not touch it during the call.
    let source = unsafe { &mut *source };
    // What FAISS has room for need not be initialised, so it is written to, never borrowed.
    let mut piece = [0; 4096];
    let mut done = 0;
    while done < len {
        let wanted = piece.len().min(len - done);
        if let Err(error) = source.bytes.read_exact(&mut piece[..wanted]) {
            source.error = Some(error);
            return 0;
        }
        // SAFETY: FAISS passes room for `len` bytes, and `done + wanted <= len`.
        unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), into.cast::<u8>().add(done), wanted) };
        done += wanted;
    }
    items
}
