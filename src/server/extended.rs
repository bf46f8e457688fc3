//! The extended protocol: statements made ready, portals bound to values, and rows fetched from them.

use bytes::Bytes;
use lodedb_sql::binary::parse_binary;
use lodedb_sql::cast::CastEnvironment;
use lodedb_sql::error::{SqlError, SqlState};
use lodedb_sql::text::parse_text_in;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};
use smallvec::SmallVec;

use super::connection::Connection;
use super::frontend::{self, Bind, Formats, Target};
use super::rows::{self, Rows, Sent};
use super::wire::{Stop, violation};
use super::{backend, copy};
use crate::db::{Outcome, Prepared, TransactionStatus};

/// A statement with values for its parameters.
pub(super) struct Portal {
    /// `None` if the statement's text is empty.
    prepared: Option<Prepared>,
    formats: Formats,
    state: PortalState,
}

enum PortalState {
    /// Not executed yet.
    Bound(Vec<Datum>),
    /// Rows may be left.
    Open(Box<Rows>),
    /// All rows have been sent; the tag if it is executed once more.
    Exhausted(Option<String>),
}

impl Connection<'_> {
    /// Parse: makes a statement ready.
    pub(super) async fn parse(&mut self, body: &Bytes) -> Result<(), Stop> {
        let parse = frontend::decode_parse(body)?;
        if parse.name.is_empty() {
            self.unnamed = None;
        } else if self.find_statement(parse.name).is_some() {
            let message = format!("prepared statement \"{}\" already exists", parse.name);
            return Err(SqlError::new(SqlState::DuplicatePreparedStatement, message).into());
        }
        let types =
            parse.types.iter().map(|&oid| parameter_type(oid)).collect::<Result<SmallVec<[_; 16]>, SqlError>>()?;
        let mut parsed = self.session.parse(parse.text)?;
        if parsed.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(SqlError::new(SqlState::SyntaxError, message).into());
        }
        let prepared = match parsed.pop() {
            Some(parsed) => Some(self.wire.watching(&self.cancel, self.session.prepare(parsed, &types)).await?),
            None => None,
        };
        let name = parse.name.to_owned();
        match prepared {
            prepared if name.is_empty() => self.unnamed = Some(prepared),
            Some(prepared) => drop(self.session.prepared_statements().insert(name, prepared)),
            None => drop(self.empty.insert(name)),
        }
        backend::parse_complete(&mut self.wire.out);
        Ok(())
    }

    /// Bind: gives a statement its values.
    pub(super) fn bind(&mut self, body: &Bytes) -> Result<(), Stop> {
        let bind = frontend::decode_bind(body)?;
        let prepared = self.statement(bind.statement)?;
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            let message = format!("cursor \"{}\" already exists", bind.portal);
            return Err(SqlError::new(SqlState::DuplicateCursor, message).into());
        }
        let (types, fields) = match &prepared {
            Some(prepared) => (&prepared.parameters[..], prepared.fields.as_deref()),
            None => (&[][..], None),
        };
        if bind.parameters.len() != types.len() {
            let (given, name, wanted) = (bind.parameters.len(), bind.statement, types.len());
            return Err(violation(format!(
                "bind message supplies {given} parameters, but prepared statement \"{name}\" requires {wanted}"
            ))
            .into());
        }
        let columns = fields.map_or(0, <[_]>::len);
        if let Some(formats) = bind.result_formats.count()
            && formats != columns
        {
            let message = format!("bind message has {formats} result formats but query has {columns} columns");
            return Err(violation(message).into());
        }
        let zone = self.session.zone();
        let values = read_parameters(&bind, types, zone)?;
        let portal = Portal { prepared, formats: bind.result_formats, state: PortalState::Bound(values) };
        self.portals.insert(bind.portal.to_owned(), portal);
        backend::bind_complete(&mut self.wire.out);
        Ok(())
    }

    /// Describe: the parameters and columns of a statement, or the columns of a portal.
    pub(super) fn describe(&mut self, body: &Bytes) -> Result<(), Stop> {
        let target = frontend::decode_target("DESCRIBE", body)?;
        let prepared;
        let (prepared, formats) = match target {
            Target::Statement(name) => {
                prepared = self.statement(name)?;
                let parameters = prepared.as_ref().map_or(&[][..], |prepared| &prepared.parameters[..]);
                backend::parameter_description(&mut self.wire.out, parameters);
                (&prepared, &Formats::All(false))
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (&portal.prepared, &portal.formats)
            }
        };
        match prepared.as_ref().and_then(|prepared| prepared.fields.as_deref()) {
            Some(fields) => backend::row_description(&mut self.wire.out, fields, formats),
            None => backend::no_data(&mut self.wire.out),
        }
        Ok(())
    }

    /// Close: forgets a statement or a portal; a name that is none is no error.
    pub(super) fn close(&mut self, body: &Bytes) -> Result<(), Stop> {
        match frontend::decode_target("CLOSE", body)? {
            Target::Statement("") => self.unnamed = None,
            Target::Statement(name) => {
                self.empty.remove(name);
                self.session.prepared_statements().remove(name);
            }
            Target::Portal(name) => {
                self.portals.remove(name);
            }
        }
        backend::close_complete(&mut self.wire.out);
        Ok(())
    }

    /// Execute: runs a portal, or goes on with one that was suspended.
    pub(super) async fn execute(&mut self, body: &Bytes) -> Result<(), Stop> {
        let execute = frontend::decode_execute(body)?;
        let before = self.session.status();
        // Out of the map while it runs: an error or the end of the transaction forgets it.
        let (name, mut portal) = self.portals.remove_entry(execute.portal).ok_or_else(|| no_portal(execute.portal))?;
        let tag = self.run_portal(&mut portal, execute.rows_max).await?;
        // A portal that is fetched in parts counts with its first part.
        self.session.statement_answered();
        rows::notices(&mut self.session, &mut self.wire.out);
        if let Some(tag) = &tag {
            self.note_tag(tag);
            backend::command_complete(&mut self.wire.out, tag);
        }
        if before != TransactionStatus::Idle && self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
        } else {
            self.portals.insert(name, portal);
        }
        Ok(())
    }

    /// Sends what a portal answers up to its tag; `None` if there is none to send.
    async fn run_portal(&mut self, portal: &mut Portal, rows_max: Option<usize>) -> Result<Option<String>, Stop> {
        let Some(prepared) = &portal.prepared else {
            backend::empty_query_response(&mut self.wire.out);
            return Ok(None);
        };
        if let PortalState::Bound(values) = &mut portal.state {
            let values = std::mem::take(values);
            portal.state = PortalState::Exhausted(None);
            let outcome = self.wire.watching(&self.cancel, self.session.execute_prepared(prepared, values)).await?;
            match outcome {
                Outcome::Rows { fields, batches, tag } => {
                    let rows = Rows::new(&self.session, fields, batches, tag, portal.formats.clone());
                    portal.state = PortalState::Open(Box::new(rows));
                }
                Outcome::Command(tag) => return Ok(Some(tag)),
                Outcome::CopyIn(incoming) => {
                    return copy::receive(self.wire, &mut self.session, &self.cancel, incoming).await.map(Some);
                }
                Outcome::CopyOut(outgoing) => {
                    return copy::send(self.wire, &mut self.session, &self.cancel, outgoing).await.map(Some);
                }
                Outcome::Empty => {
                    backend::empty_query_response(&mut self.wire.out);
                    return Ok(None);
                }
            }
        } else if self.session.status() == TransactionStatus::Failed {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(SqlError::new(SqlState::InFailedSqlTransaction, message).into());
        }
        match &mut portal.state {
            PortalState::Open(rows) => match rows.send(self.wire, &mut self.session, &self.cancel, rows_max).await? {
                Sent::Suspended => {
                    backend::portal_suspended(&mut self.wire.out);
                    Ok(None)
                }
                Sent::All(tag) => {
                    portal.state = PortalState::Exhausted(rows.exhausted_tag());
                    Ok(Some(tag))
                }
            },
            PortalState::Exhausted(Some(tag)) => Ok(Some(tag.clone())),
            PortalState::Exhausted(None) | PortalState::Bound(_) => {
                Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, "portal cannot be run").into())
            }
        }
    }

    /// Sync: commits the implicit transaction; ReadyForQuery is the caller's.
    pub(super) async fn sync(&mut self, body: &Bytes) -> Result<(), Stop> {
        frontend::decode_empty(body)?;
        self.wire.watching(&self.cancel, self.session.finish()).await?;
        self.forget_portals();
        Ok(())
    }

    /// The statement of that name, if there is one; the inner `None` is an empty one.
    fn find_statement(&mut self, name: &str) -> Option<Option<Prepared>> {
        if name.is_empty() {
            return self.unnamed.clone();
        }
        if self.empty.contains(name) {
            return Some(None);
        }
        self.session.prepared_statements().get(name).cloned().map(Some)
    }

    fn statement(&mut self, name: &str) -> Result<Option<Prepared>, SqlError> {
        self.find_statement(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                _ => format!("prepared statement \"{name}\" does not exist"),
            };
            SqlError::new(SqlState::InvalidSqlStatementName, message)
        })
    }
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCursorName, format!("portal \"{name}\" does not exist"))
}

/// The type a client gives a parameter; `None` leaves it to be inferred.
fn parameter_type(oid: u32) -> Result<Option<PgType>, SqlError> {
    if oid == 0 || oid == ScalarType::Unknown.oid() {
        return Ok(None);
    }
    let known = PgType::from_oid(oid).map(Some);
    known.ok_or_else(|| SqlError::new(SqlState::UndefinedObject, format!("type with OID {oid} does not exist")))
}

/// The values of the parameters, each read in the format the client chose for it.
fn read_parameters(bind: &Bind<'_>, types: &[PgType], zone: chrono_tz::Tz) -> Result<Vec<Datum>, SqlError> {
    let mut environment = None;
    let mut read = |index: usize, bytes: &[u8], ty: PgType| {
        let ty = TypeWithModifier::plain(ty);
        if bind.parameter_formats.is_binary(index) {
            return parse_binary(bytes, ty).map_err(|error| match error.state() {
                SqlState::InvalidBinaryRepresentation if error.context().is_none() => {
                    error.with_detail(format!("Bind parameter {}.", index + 1))
                }
                _ => error,
            });
        }
        let environment =
            *environment.get_or_insert_with(|| CastEnvironment { zone, now_us: chrono::Utc::now().timestamp_micros() });
        parse_text_in(frontend::check_text(bytes)?, ty, &environment)
    };
    types
        .iter()
        .zip(&bind.parameters)
        .enumerate()
        .map(|(index, (&ty, value))| value.map_or(Ok(Datum::Null), |bytes| read(index, bytes, ty)))
        .collect()
}
