//! What the server says: each message appended to the bytes that are to go.

use bytes::BytesMut;
use lodedb_sql::error::SqlError;
use lodedb_sql::{PgType, ScalarType};
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse, NotificationResponse};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};

use super::frontend::Formats;
use crate::db::presence::Notification;
use crate::db::{Field, TransactionStatus};

/// Appends a message: its type, its length, and what `body` appends.
pub(super) fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    // No body here comes near 4 GiB: rows are checked where they are written, COPY frames where they are cut.
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Messages of the start-up and errors are rare, so pgwire writes them.
fn encode(out: &mut Vec<u8>, message: &impl Message) {
    let mut bytes = BytesMut::new();
    match message.encode(&mut bytes) {
        Ok(()) => out.extend_from_slice(&bytes),
        Err(error) => tracing::error!(%error, "a message could not be encoded"),
    }
}

pub(super) fn authentication_ok(out: &mut Vec<u8>) {
    encode(out, &Authentication::Ok);
}

/// The ways to show who one is.
pub(super) fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&10u32.to_be_bytes());
        mechanisms.iter().for_each(|mechanism| put_text(out, mechanism));
        out.push(0);
    });
}

/// What the server answers to one who does.
pub(super) fn authentication_sasl_continue(out: &mut Vec<u8>, data: &str) {
    message(out, b'R', |out| {
        out.extend_from_slice(&11u32.to_be_bytes());
        out.extend_from_slice(data.as_bytes());
    });
}

/// What it answers at last.
pub(super) fn authentication_sasl_final(out: &mut Vec<u8>, data: &str) {
    message(out, b'R', |out| {
        out.extend_from_slice(&12u32.to_be_bytes());
        out.extend_from_slice(data.as_bytes());
    });
}

pub(super) fn negotiate_protocol_version(out: &mut Vec<u8>, newest: u32, unsupported: Vec<String>) {
    encode(out, &NegotiateProtocolVersion::new(newest as i32, unsupported));
}

pub(super) fn parameter_status(out: &mut Vec<u8>, name: String, value: String) {
    encode(out, &ParameterStatus::new(name, value));
}

pub(super) fn backend_key_data(out: &mut Vec<u8>, pid: i32, key: [u8; 4]) {
    encode(out, &BackendKeyData::new(pid, SecretKey::I32(i32::from_be_bytes(key))));
}

/// An error, `ERROR` or `FATAL`.
pub(super) fn error(out: &mut Vec<u8>, severity: &str, error: &SqlError) {
    encode(out, &ErrorResponse::new(error_fields(severity, error)));
}

/// Something the client is told that is no error: `NOTICE`, `WARNING`.
pub(super) fn notice(out: &mut Vec<u8>, severity: &str, error: &SqlError) {
    encode(out, &NoticeResponse::new(error_fields(severity, error)));
}

/// What another session sent.
pub(super) fn notification(out: &mut Vec<u8>, notification: &Notification) {
    let Notification { sender, channel, payload } = notification;
    encode(out, &NotificationResponse::new(*sender, channel.clone(), payload.clone()));
}

fn error_fields(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    // A zero byte would end the field early and shift those behind it.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.state().code().to_owned()),
        (b'M', clean(error.message())),
    ];
    let position = error.position().map(|position| position.to_string());
    let optional = [
        (b'D', error.detail()),
        (b'H', error.hint()),
        (b'P', position.as_deref()),
        (b'W', error.context()),
        (b's', error.table().map(|_| "public")),
        (b't', error.table()),
        (b'c', error.column()),
        (b'n', error.constraint()),
    ];
    fields.extend(optional.into_iter().filter_map(|(code, text)| text.map(|text| (code, clean(text)))));
    fields
}

pub(super) fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::InTransaction => b'T',
        TransactionStatus::Failed => b'E',
    };
    message(out, b'Z', |out| out.push(status));
}

pub(super) fn parse_complete(out: &mut Vec<u8>) {
    message(out, b'1', |_| {});
}

pub(super) fn bind_complete(out: &mut Vec<u8>) {
    message(out, b'2', |_| {});
}

pub(super) fn close_complete(out: &mut Vec<u8>) {
    message(out, b'3', |_| {});
}

pub(super) fn no_data(out: &mut Vec<u8>) {
    message(out, b'n', |_| {});
}

pub(super) fn portal_suspended(out: &mut Vec<u8>) {
    message(out, b's', |_| {});
}

pub(super) fn empty_query_response(out: &mut Vec<u8>) {
    message(out, b'I', |_| {});
}

pub(super) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| put_text(out, tag));
}

pub(super) fn parameter_description(out: &mut Vec<u8>, parameters: &[PgType]) {
    message(out, b't', |out| {
        out.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
        for parameter in parameters {
            out.extend_from_slice(&shown(*parameter).oid().to_be_bytes());
        }
    });
}

pub(super) fn row_description(out: &mut Vec<u8>, fields: &[Field], formats: &Formats) {
    message(out, b'T', |out| {
        out.extend_from_slice(&(fields.len() as u16).to_be_bytes());
        for (index, field) in fields.iter().enumerate() {
            let ty = shown(field.ty.ty);
            put_text(out, &field.name);
            out.extend_from_slice(&field.table.to_be_bytes());
            out.extend_from_slice(&field.column.to_be_bytes());
            out.extend_from_slice(&ty.oid().to_be_bytes());
            out.extend_from_slice(&type_length(ty).to_be_bytes());
            out.extend_from_slice(&field.ty.modifier.to_be_bytes());
            out.extend_from_slice(&u16::from(formats.is_binary(index)).to_be_bytes());
        }
    });
}

/// CopyInResponse (`G`) or CopyOutResponse (`H`).
pub(super) fn copy_response(out: &mut Vec<u8>, tag: u8, binary: bool, columns: usize) {
    message(out, tag, |out| {
        out.push(u8::from(binary));
        out.extend_from_slice(&(columns as u16).to_be_bytes());
        for _ in 0..columns {
            out.extend_from_slice(&u16::from(binary).to_be_bytes());
        }
    });
}

pub(super) fn copy_data(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'd', |out| out.extend_from_slice(data));
}

pub(super) fn copy_done(out: &mut Vec<u8>) {
    message(out, b'c', |_| {});
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| if byte == 0 { b'?' } else { byte }));
    out.push(0);
}

/// The type a client is told: what PostgreSQL leaves `unknown` it sends as text.
fn shown(ty: PgType) -> PgType {
    match ty {
        PgType::Scalar(ScalarType::Unknown) => PgType::Scalar(ScalarType::Text),
        _ => ty,
    }
}

/// `pg_type.typlen`.
fn type_length(ty: PgType) -> i16 {
    let PgType::Scalar(scalar) = ty else { return -1 };
    match scalar {
        ScalarType::Bool | ScalarType::Char => 1,
        ScalarType::Int2 => 2,
        ScalarType::Int4 | ScalarType::Float4 | ScalarType::Date | ScalarType::Void => 4,
        ScalarType::Oid | ScalarType::Xid => 4,
        ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace => 4,
        ScalarType::Int8 | ScalarType::Float8 => 8,
        ScalarType::Time | ScalarType::Timestamp | ScalarType::Timestamptz => 8,
        ScalarType::Interval | ScalarType::Uuid => 16,
        ScalarType::Name => 64,
        ScalarType::Numeric | ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar => -1,
        ScalarType::Bytea | ScalarType::Json | ScalarType::Jsonb | ScalarType::Vector => -1,
        ScalarType::Halfvec | ScalarType::Sparsevec | ScalarType::Bit | ScalarType::Varbit => -1,
        ScalarType::Int2vector | ScalarType::Oidvector | ScalarType::Record => -1,
        ScalarType::Unknown => -2,
    }
}
