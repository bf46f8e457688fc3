//! A model that is open, and the one thread that runs it: what several statements ask meanwhile is run together.

use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use lodedb_embed::{EmbedError, Model, Tokens};
use lodedb_sql::SqlError;
use lodedb_sql::error::Result as SqlResult;

use super::cache::Entry;
use super::{INPUTS_AT_ONCE, Truncated};
use crate::query::CancelToken;

/// Calls that wait for a model; who comes then waits for a place among them.
const WAITING_CALLS: usize = 64;
/// How long a caller does not look whether its statement is to end.
const NAP: Duration = Duration::from_millis(5);

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Inputs {
    Texts(Vec<Tokens>),
    Images(Vec<Vec<u8>>),
}

impl Inputs {
    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Images(images) => images.len(),
        }
    }
}

/// What it answers: of each input its vector.
type Answered = Result<Vec<Entry>, EmbedError>;

struct Call {
    inputs: Inputs,
    answer: SyncSender<Answered>,
}

/// What was asked so far.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) calls: AtomicU64,
    pub(super) inputs: AtomicU64,
    pub(super) nanos: AtomicU64,
}

/// A model that is open. Its thread ends with it.
pub(super) struct Running {
    model: Arc<Model>,
    calls: SyncSender<Call>,
    counted: Arc<Counted>,
}

impl Running {
    pub(super) fn start(model: Model) -> std::io::Result<Self> {
        let model = Arc::new(model);
        let counted = Arc::new(Counted::default());
        let (calls, waiting) = sync_channel(WAITING_CALLS);
        let (of_thread, counts) = (model.clone(), counted.clone());
        std::thread::Builder::new().name("model".into()).spawn(move || serve(&of_thread, &waiting, &counts))?;
        Ok(Self { model, calls, counted })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Asks the model and waits for its answer, or until the statement is to end. Blocks its thread.
    pub(super) fn ask(&self, inputs: Inputs, cancel: &CancelToken) -> SqlResult<Answered> {
        let (answer, answered) = sync_channel(1);
        let gone = || SqlError::internal("a model stopped answering");
        let mut call = Call { inputs, answer };
        loop {
            call = match self.calls.try_send(call) {
                Ok(()) => break,
                Err(TrySendError::Full(call)) => call,
                Err(TrySendError::Disconnected(_)) => return Err(gone()),
            };
            cancel.check()?;
            std::thread::sleep(NAP);
        }
        loop {
            match answered.recv_timeout(NAP) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

/// Answers calls until nobody can ask any more.
fn serve(model: &Model, waiting: &Receiver<Call>, counted: &Counted) {
    let mut next = None;
    while let Some(first) = next.take().or_else(|| waiting.recv().ok()) {
        let mut count = first.inputs.len();
        let mut together = vec![first];
        while count < INPUTS_AT_ONCE {
            match waiting.try_recv() {
                Ok(call) if discriminant(&call.inputs) == discriminant(&together[0].inputs) => {
                    count += call.inputs.len();
                    together.push(call);
                }
                Ok(call) => {
                    next = Some(call);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let begun = Instant::now();
        let answers = answers(model, &together);
        // Whoever has an answer finds it counted.
        counted.calls.fetch_add(1, Ordering::Relaxed);
        counted.inputs.fetch_add(count as u64, Ordering::Relaxed);
        counted.nanos.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        for (call, answered) in together.into_iter().zip(answers) {
            // Whoever gave up is not waiting any more.
            let _ = call.answer.send(answered);
        }
    }
}

/// The answer to each call: they are run together, and where that fails each alone, so that what is wrong with one is told to that one
/// only.
fn answers(model: &Model, calls: &[Call]) -> Vec<Answered> {
    let together: Vec<&Call> = calls.iter().collect();
    match run(model, &together) {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if calls.len() == 1 => vec![Err(error)],
        Err(_) => calls.iter().map(|call| run(model, &[call]).map(|mut answers| answers.remove(0))).collect(),
    }
}

/// The answers to calls that are all about texts, or all about pictures.
fn run(model: &Model, calls: &[&Call]) -> Result<Vec<Vec<Entry>>, EmbedError> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for call in calls {
        match &call.inputs {
            Inputs::Texts(given) => texts.extend(given.iter().cloned()),
            Inputs::Images(given) => images.extend(given.iter().map(Vec::as_slice)),
        }
    }
    let (vectors, cut) = match images.is_empty() {
        true => {
            let embedded = model.embed_tokens(&texts)?;
            (embedded.vectors, embedded.truncated)
        }
        false => (model.embed_images(&images)?, Vec::new()),
    };
    let mut all: Vec<Entry> =
        vectors.iter().map(|vector| Entry { vector: Arc::from(vector), truncated: None }).collect();
    for cut in cut {
        if let Some(entry) = all.get_mut(cut.index) {
            entry.truncated = Some(Truncated { tokens: cut.tokens, used: cut.used });
        }
    }
    let mut all = all.into_iter();
    Ok(calls.iter().map(|call| all.by_ref().take(call.inputs.len()).collect()).collect())
}
