//! Functions of advisory locks: `pg_advisory_lock` and its kin.

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::definition::{Call, Definition, function};
use super::scope::AdvisoryLock;
use super::types::*;
use crate::commit::locks::{LockMode, LockTarget};

fn nothing() -> Datum {
    Datum::Text(String::new())
}

/// What an advisory lock is of: one number, or two.
fn target(args: &[Datum]) -> Result<LockTarget> {
    match *args {
        [Datum::Int8(number)] => Ok(LockTarget::Advisory(number)),
        [Datum::Int4(first), Datum::Int4(second)] => Ok(LockTarget::AdvisoryPair(first, second)),
        _ => Err(SqlError::internal("an advisory lock is of one number or two")),
    }
}

fn lock(call: &Call<'_>, args: &[Datum], mode: LockMode, for_transaction: bool, waits: bool) -> Result<bool> {
    let scope = call.scope()?;
    let Some(advisory) = &scope.hooks.advisory else {
        return Err(SqlError::new(SqlState::FeatureNotSupported, "advisory locks cannot be used in this statement"));
    };
    let wanted = AdvisoryLock { target: target(args)?, mode, for_transaction, waits };
    advisory.lock(wanted, &scope.environment.settings, &call.cancel())
}

fn unlock(call: &Call<'_>, args: &[Datum], mode: LockMode) -> Result<Datum> {
    let target = target(args)?;
    Ok(Datum::Bool(call.scope()?.hooks.advisory.as_ref().is_some_and(|advisory| advisory.unlock(target, mode))))
}

fn unlock_all(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    if let Some(advisory) = &call.scope()?.hooks.advisory {
        advisory.unlock_all();
    }
    Ok(nothing())
}

/// A function that takes an advisory lock, in both its forms.
macro_rules! advisory_lock {
    ($name:literal, $mode:ident, for_transaction: $for_transaction:literal, waits: true) => {
        advisory_lock!(@ $name, TO_VOID, |call, args| {
            lock(call, args, LockMode::$mode, $for_transaction, true).map(|_| nothing())
        })
    };
    ($name:literal, $mode:ident, for_transaction: $for_transaction:literal, waits: false) => {
        advisory_lock!(@ $name, TO_BOOL, |call, args| {
            lock(call, args, LockMode::$mode, $for_transaction, false).map(Datum::Bool)
        })
    };
    (@ $name:literal, $returns:expr, $evaluate:expr) => {
        [
            function($name, &[INT8], $returns, $evaluate).volatile(),
            function($name, &[INT4, INT4], $returns, $evaluate).volatile(),
        ]
    };
}

/// A function that gives one back, in both its forms.
macro_rules! advisory_unlock {
    ($name:literal, $mode:ident) => {
        advisory_lock!(@ $name, TO_BOOL, |call, args| unlock(call, args, LockMode::$mode))
    };
}

/// The functions of this file, each for one number and for two.
const PAIRS: &[[Definition; 2]] = &[
    advisory_lock!("pg_advisory_lock", Exclusive, for_transaction: false, waits: true),
    advisory_lock!("pg_advisory_lock_shared", Share, for_transaction: false, waits: true),
    advisory_lock!("pg_advisory_xact_lock", Exclusive, for_transaction: true, waits: true),
    advisory_lock!("pg_advisory_xact_lock_shared", Share, for_transaction: true, waits: true),
    advisory_lock!("pg_try_advisory_lock", Exclusive, for_transaction: false, waits: false),
    advisory_lock!("pg_try_advisory_lock_shared", Share, for_transaction: false, waits: false),
    advisory_lock!("pg_try_advisory_xact_lock", Exclusive, for_transaction: true, waits: false),
    advisory_lock!("pg_try_advisory_xact_lock_shared", Share, for_transaction: true, waits: false),
    advisory_unlock!("pg_advisory_unlock", Exclusive),
    advisory_unlock!("pg_advisory_unlock_shared", Share),
];

/// The functions of this file.
pub(super) fn functions() -> impl Iterator<Item = Definition> {
    let all = function("pg_advisory_unlock_all", &[], TO_VOID, unlock_all).volatile();
    PAIRS.iter().flatten().cloned().chain([all])
}
