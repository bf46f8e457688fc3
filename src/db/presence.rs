//! The sessions there are, as others see and reach them: what they are doing, how they are told to end, and what is sent to them.
//!
//! A session tells its [`Presence`] what it does; whoever lists sessions, ends them or notifies them finds it in [`Sessions`]. The server
//! waits for [`Presence::called`] beside the next message of its client.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lodedb_sql::parse::ParsedStatement;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::clock::now_us;
use super::outcome::TransactionStatus;
use super::session::SessionOptions;
use super::settings::Settings;
use crate::catalog::rights::RoleId;
use crate::query::CancelToken;

/// The sessions of a database, by number.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<BTreeMap<i32, Arc<Presence>>>);

/// What a session shows of itself.
#[derive(Debug)]
pub struct Presence {
    /// Its number.
    pub number: i32,
    /// Who it began as.
    pub user: String,
    /// The role it began as.
    pub role: RoleId,
    /// What its connection is encrypted with, if it is: version, cipher and bits.
    pub encryption: Option<(String, String, i32)>,
    /// Where its client is; none if it is in the same process or on the same machine's socket.
    pub client: Option<(IpAddr, u16)>,
    /// When it began: microseconds since 1970 UTC.
    pub started_us: i64,
    cancel: CancelToken,
    is_ended: AtomicBool,
    sent: Mutex<VecDeque<Arc<Notification>>>,
    call: Notify,
    doing: Mutex<Doing>,
}

/// What was sent to a session by NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The number of the session that sent it.
    pub sender: i32,
    /// The channel.
    pub channel: String,
    /// The text that goes with it.
    pub payload: String,
}

/// What a session does, and since when.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Whether a statement is under way.
    pub is_active: bool,
    /// Where the session stands otherwise.
    pub status: TransactionStatus,
    /// The statement under way, or the last one.
    pub statement: Option<Arc<ParsedStatement>>,
    /// When that began.
    pub statement_us: Option<i64>,
    /// When the open transaction began.
    pub transaction_us: Option<i64>,
    /// When the first two last changed.
    pub changed_us: i64,
    /// The settings.
    pub settings: Arc<Settings>,
}

impl Doing {
    /// As `pg_stat_activity` names it.
    pub fn state(&self) -> &'static str {
        match self.status {
            _ if self.is_active => "active",
            TransactionStatus::Idle => "idle",
            TransactionStatus::InTransaction => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        }
    }
}

impl Sessions {
    /// All of them.
    pub fn all(&self) -> Vec<Arc<Presence>> {
        self.0.lock().values().cloned().collect()
    }

    /// The one of that number.
    pub fn get(&self, number: i32) -> Option<Arc<Presence>> {
        self.0.lock().get(&number).cloned()
    }

    pub(super) fn enter(&self, presence: Arc<Presence>) {
        self.0.lock().insert(presence.number, presence);
    }

    pub(super) fn leave(&self, number: i32) {
        self.0.lock().remove(&number);
    }
}

impl Presence {
    pub(super) fn new(
        number: i32,
        role: RoleId,
        options: &SessionOptions,
        cancel: CancelToken,
        settings: Arc<Settings>,
    ) -> Self {
        let started_us = now_us();
        let doing = Doing {
            is_active: false,
            status: TransactionStatus::Idle,
            statement: None,
            statement_us: None,
            transaction_us: None,
            changed_us: started_us,
            settings,
        };
        Self {
            number,
            user: options.user.clone(),
            role,
            encryption: options.encryption.clone(),
            client: options.client,
            started_us,
            cancel,
            is_ended: AtomicBool::new(false),
            sent: Mutex::default(),
            call: Notify::new(),
            doing: Mutex::new(doing),
        }
    }

    /// What it does.
    pub fn doing(&self) -> Doing {
        self.doing.lock().clone()
    }

    /// A statement begins.
    pub(super) fn begins(&self, statement: &Arc<ParsedStatement>, transaction_us: Option<i64>) {
        let now = now_us();
        let mut doing = self.doing.lock();
        doing.is_active = true;
        doing.statement = Some(statement.clone());
        doing.statement_us = Some(now);
        doing.transaction_us = Some(transaction_us.unwrap_or(now));
        doing.changed_us = now;
    }

    /// It waits for its client.
    pub(super) fn rests(&self, status: TransactionStatus, settings: &Arc<Settings>) {
        let mut doing = self.doing.lock();
        if !Arc::ptr_eq(&doing.settings, settings) {
            doing.settings = settings.clone();
        }
        if !doing.is_active && doing.status == status {
            return;
        }
        doing.is_active = false;
        doing.status = status;
        doing.changed_us = now_us();
        if status == TransactionStatus::Idle {
            doing.transaction_us = None;
        }
    }

    /// Ends the statement under way.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Ends the session, and the statement under way with it.
    pub fn end(&self) {
        self.is_ended.store(true, Ordering::Release);
        self.cancel.terminate();
        self.call.notify_one();
    }

    /// Whether it is to end.
    pub fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    /// Comes back when there is something to hear: the end, or a notification. It may come back once too often.
    pub async fn called(&self) {
        self.call.notified().await;
    }

    pub(super) fn send(&self, notification: Arc<Notification>) {
        self.sent.lock().push_back(notification);
        self.call.notify_one();
    }

    /// How many notifications wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.sent.lock().len()
    }

    /// What was sent to it since the last call.
    pub(super) fn take_sent(&self) -> VecDeque<Arc<Notification>> {
        std::mem::take(&mut self.sent.lock())
    }
}
