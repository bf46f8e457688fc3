//! Which output of a network is the embedding, and whether what came is what was declared: decisions over plain data.

use crate::Pooling;
use crate::pool::Shape;
use crate::runtime::{Element, Port};

/// What one network gives for an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) dims: usize,
}

impl Output {
    /// What a network gave, input by input, if it is what it declared: a network may declare one thing and give another.
    pub(crate) fn rows<'a>(
        &self,
        shape: &[i64],
        values: &'a [f32],
        count: usize,
        tokens: Option<usize>,
    ) -> Result<impl Iterator<Item = &'a [f32]>, String> {
        let dims = self.dims as i64;
        let right = match self.shape {
            Shape::Vector => shape.len() >= 2 && shape[1] == dims && shape[2..].iter().all(|dim| *dim == 1),
            Shape::Tokens(_) => {
                shape.len() == 3
                    && shape[1] >= 1
                    && tokens.is_none_or(|tokens| shape[1] == tokens as i64)
                    && shape[2] == dims
            }
            Shape::Maps => shape.len() == 4 && shape[1] == dims && shape[2] >= 1 && shape[3] >= 1,
        };
        if !right || shape[0] != count as i64 {
            return Err(format!(
                "its output {} has the shape {shape:?} for {count} inputs of {dims} dimensions",
                self.name
            ));
        }
        Ok(values.chunks_exact(values.len() / count))
    }
}

/// The names of inputs or outputs, for an error.
pub(crate) fn names(ports: &[Port]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Chooses the output that is the embedding: the one that is named, or the first of those that are usual, or the only one; and how its
/// shape becomes a vector. `dims` is what the description says, for a network that declares nothing.
pub(crate) fn choose_output(
    outputs: &[Port],
    named: Option<&str>,
    usual: &[&str],
    pooling: Option<Pooling>,
    dims: Option<usize>,
) -> Result<Output, String> {
    let by_name = |name: &str| outputs.iter().find(|output| output.name == name);
    let output = match (named, outputs) {
        (Some(name), _) => {
            by_name(name).ok_or_else(|| format!("it has no output {name}; its outputs are {}", names(outputs)))?
        }
        (None, [only]) => only,
        (None, _) => usual.iter().find_map(|name| by_name(name)).ok_or_else(|| {
            format!(
                "none of its outputs {} is called {}; name the one to take in a lodedb.json",
                names(outputs),
                usual.join(" or ")
            )
        })?,
    };
    let name = &output.name;
    if name.is_empty() {
        return Err("its output has no name".to_owned());
    }
    if output.element != Element::Float32 {
        return Err(format!("its output {name} is not of 32-bit floats; export the model as float32"));
    }
    let (shape, declared) = match output.shape[..] {
        [_, dims] => (Shape::Vector, dims),
        [_, _, dims] => {
            let reason = "has a vector for each token, and nothing tells how they become one; add 1_Pooling/config.json or a lodedb.json";
            (Shape::Tokens(pooling.ok_or_else(|| format!("its output {name} {reason}"))?), dims)
        }
        [_, dims, Some(1), Some(1)] => (Shape::Vector, dims),
        [_, dims, _, _] if pooling == Some(Pooling::Mean) => (Shape::Maps, dims),
        [_, _, _, _] => {
            return Err(format!(
                "its output {name} is a map for each number; cut the network after its pooling, or ask for the mean in a lodedb.json"
            ));
        }
        _ => {
            return Err(format!("its output {name} has {} dimensions; 2 to 4 can be an embedding", output.shape.len()));
        }
    };
    let dims = match (declared, dims) {
        (Some(declared), Some(told)) if declared != told => {
            return Err(format!("its output {name} has {declared} dimensions, and lodedb.json says {told}"));
        }
        (Some(0), _) => return Err(format!("its output {name} has no dimensions")),
        (Some(dims), _) | (None, Some(dims)) => dims,
        (None, None) => {
            return Err(format!(
                "its output {name} has no fixed number of dimensions; export it with one, or say it in a lodedb.json"
            ));
        }
    };
    Ok(Output { name: name.clone(), shape, dims })
}

#[cfg(test)]
mod tests;
