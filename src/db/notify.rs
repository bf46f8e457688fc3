//! LISTEN and NOTIFY: who listens on which channel, and what a transaction sends when it commits.
//!
//! As in PostgreSQL, all three statements take effect with the commit of their transaction, in their order, and a session hears what was sent
//! as soon as it is in no transaction. What a transaction sends twice is sent once.

use std::collections::BTreeMap;
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::statement::Named;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::presence::{Notification, Presence};
use super::session::Session;

/// The longest payload is one byte shorter, as in PostgreSQL.
const PAYLOAD_BYTES: usize = 8000;
/// The longest name of a channel.
const CHANNEL_BYTES_MAX: usize = 63;
/// How many notifications may wait for one session.
const MOST_WAITING: usize = 100_000;

/// Who listens on which channel.
#[derive(Debug, Default)]
pub struct Channels(Mutex<BTreeMap<String, BTreeMap<i32, Arc<Presence>>>>);

/// What the commit of the open transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Intention {
    Listen(String),
    Unlisten(Named),
    Notify { channel: String, payload: String },
}

impl Channels {
    fn listen(&self, channel: &str, presence: &Arc<Presence>) {
        self.0.lock().entry(channel.to_owned()).or_default().insert(presence.number, presence.clone());
    }

    fn unlisten(&self, session: i32, channel: &Named) {
        self.0.lock().retain(|name, listeners| {
            if *channel == Named::All || *channel == Named::Name(name.clone()) {
                listeners.remove(&session);
            }
            !listeners.is_empty()
        });
    }

    /// The channels a session listens on.
    pub fn of(&self, session: i32) -> Vec<String> {
        let channels = self.0.lock();
        channels.iter().filter(|(_, of)| of.contains_key(&session)).map(|(name, _)| name.clone()).collect()
    }

    fn notify(&self, notification: Notification) {
        let channels = self.0.lock();
        let Some(listeners) = channels.get(&notification.channel) else { return };
        let notification = Arc::new(notification);
        listeners.values().for_each(|listener| listener.send(notification.clone()));
    }

    /// `53400` if a listener has not heard for too long.
    fn check_room(&self, channel: &str) -> Result<()> {
        let channels = self.0.lock();
        let full = channels.get(channel).and_then(|of| of.values().find(|of| of.waiting() >= MOST_WAITING));
        match full {
            Some(listener) => {
                Err(SqlError::new(SqlState::ConfigurationLimitExceeded, "too many notifications in the NOTIFY queue")
                    .with_detail(format!(
                        "The server process with PID {} does not read what is sent to it.",
                        listener.number
                    )))
            }
            None => Ok(()),
        }
    }
}

/// The channel and the payload of a notification, if they can be that.
pub(super) fn checked(channel: &str, payload: &str) -> Result<Intention> {
    let refused = |message| Err(SqlError::new(SqlState::InvalidParameterValue, message));
    if channel.is_empty() {
        return refused("channel name cannot be empty");
    }
    if channel.len() > CHANNEL_BYTES_MAX {
        return refused("channel name too long");
    }
    if payload.len() >= PAYLOAD_BYTES {
        return refused("payload string too long");
    }
    Ok(Intention::Notify { channel: channel.to_owned(), payload: payload.to_owned() })
}

impl Session {
    /// LISTEN, UNLISTEN or NOTIFY: the commit of the transaction does it.
    pub(super) fn intend(&mut self, intention: Intention) -> Result<()> {
        if let Intention::Notify { channel, .. } = &intention {
            self.engine().channels.check_room(channel)?;
            if self.intentions.contains(&intention) {
                return Ok(());
            }
        }
        self.intentions.push(intention);
        Ok(())
    }

    /// Takes over what functions of the statement are to send.
    pub(super) fn absorb_intentions(&mut self) -> Result<()> {
        let intentions = std::mem::take(&mut self.hooks.effects.lock().intentions);
        intentions.into_iter().try_for_each(|intention| self.intend(intention))
    }

    /// The transaction committed.
    pub(super) fn carry_out_intentions(&mut self) {
        let channels = &self.db.engine().channels;
        for intention in std::mem::take(&mut self.intentions) {
            match intention {
                Intention::Listen(channel) => channels.listen(&channel, &self.presence),
                Intention::Unlisten(channel) => channels.unlisten(self.number, &channel),
                Intention::Notify { channel, payload } => {
                    channels.notify(Notification { sender: self.number, channel, payload });
                }
            }
        }
    }

    /// The session is over, or starts over.
    pub(super) fn unlisten_all(&mut self) {
        self.intentions.clear();
        self.engine().channels.unlisten(self.number, &Named::All);
    }

    /// What was sent to the session since the last call, once it is in no transaction.
    pub fn take_notifications(&mut self) -> Vec<Arc<Notification>> {
        if self.in_block() {
            return Vec::new();
        }
        self.presence.take_sent().into()
    }
}
