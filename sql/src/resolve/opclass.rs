//! The operator classes of vector indexes.

use crate::error::{Result, SqlError, SqlState};
use crate::vector::Metric;

/// The metric of an index on a `vector` by this method and operator class.
pub fn opclass_metric(method: &str, opclass: Option<&str>) -> Result<Metric> {
    let undefined = |message: String| SqlError::new(SqlState::UndefinedObject, message);
    if !matches!(method, "hnsw" | "ivfflat" | "ivfpq" | "flat") {
        return Err(match method {
            "btree" | "hash" | "gin" | "gist" | "spgist" | "brin" => undefined(match opclass {
                Some(opclass) => {
                    format!("operator class \"{opclass}\" does not accept a distance for access method \"{method}\"")
                }
                None => format!("data type vector has no default operator class for access method \"{method}\""),
            }),
            _ => undefined(format!("access method \"{method}\" does not exist")),
        });
    }
    match opclass {
        None if method == "hnsw" => {
            let message = "data type vector has no default operator class for access method \"hnsw\"";
            Err(undefined(message.into()).with_hint(
                "You must specify an operator class for the index or define a default operator class for the data type.",
            ))
        }
        None | Some("vector_l2_ops") => Ok(Metric::L2),
        Some("vector_ip_ops") => Ok(Metric::InnerProduct),
        Some("vector_cosine_ops") => Ok(Metric::Cosine),
        Some("vector_l1_ops") if method != "ivfflat" => Ok(Metric::L1),
        Some(opclass) => {
            Err(undefined(format!("operator class \"{opclass}\" does not exist for access method \"{method}\"")))
        }
    }
}
