//! ONNX Runtime: finding it, loading it, and running networks. The only file that names `ort`.
//!
//! The library is loaded when the first network is, and stays for the life of the process. A failure is not remembered: who installs
//! the library need not start the process again.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider};
use ort::logging::LogLevel;
use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};

use crate::{EmbedError, Options};

/// The oldest ONNX Runtime whose functions `ort` may call, by its feature `api-21`: the first that can be told where weights outside of a
/// network lie. Older ones look in the folder that the process was started in.
const OLDEST: &str = "1.21";
const LIBRARY: &str = "libonnxruntime.so";
/// Where the wheel of PyPI keeps the library, inside of an environment or a prefix.
const WHEEL: &str = "onnxruntime/capi";

/// The one environment of the process.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The environment, made when it is first asked for: from `chosen`, or `ORT_DYLIB_PATH`, or the first usual place that has a library
/// which can be used. Later `chosen` is not looked at: a process has one.
fn environment(chosen: Option<&Path>) -> Result<Environment, EmbedError> {
    let mut made = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*made {
        return Ok(environment.clone());
    }
    let named = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let environment = match chosen.map(Path::to_owned).or(named) {
        // Who names a place means that one: another is not taken instead.
        Some(place) => {
            let library = find(std::slice::from_ref(&place)).into_iter().next();
            load(&library.ok_or_else(|| EmbedError::RuntimeMissing { looked_in: vec![place] })?)?
        }
        None => {
            let looked_in = usual_places();
            let mut first_failure = None;
            let loaded = find(&looked_in).iter().find_map(|library| match load(library) {
                Ok(environment) => Some(environment),
                Err(error) => {
                    first_failure.get_or_insert(error);
                    None
                }
            });
            loaded.ok_or_else(|| first_failure.unwrap_or(EmbedError::RuntimeMissing { looked_in }))?
        }
    };
    *made = Some(environment.clone());
    Ok(environment)
}

/// Loads one library. `ort` itself would panic on one that is missing or too old, were it not given here first.
fn load(library: &Path) -> Result<Environment, EmbedError> {
    let unusable = |reason| EmbedError::RuntimeUnusable { path: library.to_owned(), reason };
    let builder = ort::init_from(library).map_err(|error| {
        unusable(match error {
            ort::LoadDynamicError::BadVersion { version_str, .. } => {
                format!("it is version {version_str}, and {OLDEST} or later is needed; `pip install --upgrade onnxruntime` gets one")
            }
            ort::LoadDynamicError::MissingApi { .. } | ort::LoadDynamicError::InvalidVersionString => "it is another library".to_owned(),
            error => error.to_string(),
        })
    })?;
    let environment = builder.with_name("lodedb").with_telemetry(false).build();
    let environment = environment.map_err(|error| unusable(error.to_string()))?;
    // Every error is returned; it need not be on the standard error of the process too.
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

/// The libraries in `places`, each a library itself, or a folder with one, or an environment or prefix of Python with the wheel.
fn find(places: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in places {
        if place.is_file() {
            found.push(place.clone());
        }
        let mut folders = vec![place.clone(), place.join("lib"), place.join(WHEEL)];
        // `lib/python3.11/site-packages`, or `dist-packages` as Debian has it.
        for python in entries(&place.join("lib")).into_iter().filter(|path| begins(path, "python3")) {
            folders.extend([python.join("site-packages").join(WHEEL), python.join("dist-packages").join(WHEEL)]);
        }
        for folder in folders {
            // `libonnxruntime.so`, then `.so.1`, then `.so.1.31.1`: what the administrator linked comes first.
            found.extend(entries(&folder).into_iter().filter(|path| begins(path, LIBRARY)));
        }
    }
    found
}

fn usual_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter().collect();
    places.extend(env::var_os("HOME").map(|home| PathBuf::from(home).join(".local")));
    places.extend(
        ["/usr/local", "/usr", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/opt/onnxruntime"].map(PathBuf::from),
    );
    places
}

/// What lies in a folder, sorted; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn begins(path: &Path, with: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(with))
}

/// Numbers that a network takes or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Float32,
    Int64,
    Int32,
    /// Any that is not dealt with here.
    Other,
}

/// An input or an output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the ONNX file.
    pub name: String,
    pub(crate) element: Element,
    /// Its dimensions; `None` for those that vary.
    pub shape: Vec<Option<usize>>,
}

impl Port {
    fn new(outlet: &Outlet) -> Self {
        let (element, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                let element = match ty {
                    TensorElementType::Float32 => Element::Float32,
                    TensorElementType::Int64 => Element::Int64,
                    TensorElementType::Int32 => Element::Int32,
                    _ => Element::Other,
                };
                (element, shape.iter().map(|dim| usize::try_from(*dim).ok()).collect())
            }
            _ => (Element::Other, Vec::new()),
        };
        Self { name: outlet.name().to_owned(), element, shape }
    }
}

/// What a network is given: numbers, in the order of `shape`.
pub(crate) enum Values {
    Float32(Vec<f32>),
    Int64(Vec<i64>),
    Int32(Vec<i32>),
}

/// What runs a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU of NVIDIA's, by the runtime's CUDA execution provider.
    Cuda,
}

/// A network that can be run.
#[derive(Debug)]
pub(crate) struct Network {
    /// `ort` lets one thread run it at a time, since parts of ONNX Runtime are not safe for more.
    session: Mutex<Session>,
    pub(crate) device: Device,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

impl Network {
    /// Loads the ONNX file `path`, whose bytes are `bytes`, with weights that lie outside of it given as names and bytes.
    pub(crate) fn load(
        path: &Path,
        bytes: &[u8],
        weights: Vec<(String, Arc<[u8]>)>,
        options: &Options,
    ) -> Result<Self, EmbedError> {
        let environment = environment(options.runtime.as_deref())?;
        let load = |device| -> ort::Result<Session> {
            let mut builder = Session::builder(&environment)?
                .with_intra_threads(options.intra_threads)?
                // It remembers a plan for each shape met; texts have as many shapes as there are lengths.
                .with_memory_pattern(false)?
                // Threads wait busily for the next part of a network, but not once it has run.
                .with_intra_op_spinning(true)?
                .with_config_entry("session.force_spinning_stop", "1")?
                // Nothing lies below a file: a network that names weights gets those it is given here, and reads none.
                .with_config_entry("session.model_external_initializers_file_folder_path", path.to_string_lossy())?;
            if device == Device::Cuda {
                builder = builder.with_execution_providers([CUDA::default().build().error_on_failure()])?;
            }
            for (name, bytes) in &weights {
                builder = builder.with_external_initializer_file_in_memory(name, bytes.clone())?;
            }
            builder.commit_from_memory(bytes)
        };
        // A runtime has the provider and may lack the libraries or the device it needs: then the processor serves.
        let on_gpu = match options.gpu && CUDA::is_available().unwrap_or(false) {
            true => load(Device::Cuda).ok().map(|session| (session, Device::Cuda)),
            false => None,
        };
        let (session, device) = match on_gpu {
            Some(loaded) => loaded,
            None => {
                let refused = |error| EmbedError::bad_model(path, format!("ONNX Runtime refuses it: {error}"));
                (load(Device::Cpu).map_err(refused)?, Device::Cpu)
            }
        };
        let ports = |outlets: &[Outlet]| outlets.iter().map(Port::new).collect();
        let (inputs, outputs) = (ports(session.inputs()), ports(session.outputs()));
        Ok(Self { inputs, outputs, session: Mutex::new(session), device })
    }

    /// Runs the network and hands the dimensions and the numbers of `output` to `take`.
    ///
    /// # Errors
    ///
    /// In words, if the network fails or what it gives is no tensor of floats.
    pub(crate) fn run<T>(
        &self,
        inputs: Vec<(&str, Vec<usize>, Values)>,
        output: &str,
        take: impl FnOnce(&[i64], &[f32]) -> Result<T, String>,
    ) -> Result<T, String> {
        let given = inputs.into_iter().map(|(name, shape, values)| {
            let value: SessionInputValue<'_> = match values {
                Values::Float32(values) => Tensor::from_array((shape, values))?.into(),
                Values::Int64(values) => Tensor::from_array((shape, values))?.into(),
                Values::Int32(values) => Tensor::from_array((shape, values))?.into(),
            };
            Ok((name, value))
        });
        let given = given.collect::<ort::Result<Vec<_>>>().map_err(|error| error.to_string())?;
        let options = RunOptions::new().map_err(|error| error.to_string())?;
        // Without this every output is computed and copied.
        let options = options.with_outputs(OutputSelector::no_default().with(output));
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let found = session.run_with_options(given, &options).map_err(|error| error.to_string())?;
        let value = found.get(output).ok_or_else(|| format!("it gave no {output}"))?;
        let (shape, values) = value.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
        take(shape, values)
    }
}

#[cfg(test)]
mod tests;
