//! From the files that models are published with to a [`Description`].
//!
//! Asked in this order, and the first that is there decides: our own `lodedb.json`; `modules.json` of sentence-transformers; the two
//! networks of a text-image model; pictures by `preprocessor_config.json` of transformers or `config.json` of timm; a network with a
//! tokenizer alone.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::description::is_inside;
use crate::{Description, EmbedError, Pooling, TextTower};

mod images;

/// Reads what the directory holds.
///
/// # Errors
///
/// If it is no directory, none of the layouts, or one whose files contradict themselves or ask for what is not implemented.
pub(crate) fn read(directory: &Path) -> Result<Description, EmbedError> {
    if !directory.is_dir() {
        return Err(EmbedError::bad_model(directory, "there is no such directory"));
    }
    let found = if let Some(description) = read_json::<Description>(directory, Description::FILE)? {
        description
    } else if let Some(modules) = read_json::<Vec<Module>>(directory, "modules.json")? {
        sentence_transformers(directory, &modules)?
    } else if let (Some(text), Some(vision)) = (network(directory, "text_model"), network(directory, "vision_model")) {
        two_towers(directory, text, vision)?
    } else if let Some(model) = network(directory, "model") {
        match images::tower(directory, model.clone())? {
            Some(image) => Description { text: None, image: Some(image), normalize: false, dims: None },
            None if directory.join("tokenizer.json").is_file() => {
                let text = text_tower(directory, model, &Limits::read(directory)?)?;
                Description { text: Some(text), image: None, normalize: true, dims: None }
            }
            None => {
                let reason = "model.onnx has neither a tokenizer.json beside it nor a preprocessor_config.json or a config.json of timm; \
                              add one of them, or a lodedb.json that describes it";
                return Err(EmbedError::bad_model(directory, reason));
            }
        }
    } else {
        let reason = "no model.onnx, and no text_model.onnx with a vision_model.onnx, here or in onnx/; \
                      export the model to ONNX, or describe its files in a lodedb.json";
        return Err(EmbedError::bad_model(directory, reason));
    };
    found.check(directory)?;
    Ok(found)
}

/// Reads a file of JSON; `None` where there is none.
fn read_json<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<Option<T>, EmbedError> {
    let path = directory.join(name);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EmbedError::io("read", &path)(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| EmbedError::bad_model(&path, error.to_string()))
}

/// Where the network `stem` lies: in `onnx/`, as exports have it, or in the directory itself.
fn network(directory: &Path, stem: &str) -> Option<String> {
    [format!("onnx/{stem}.onnx"), format!("{stem}.onnx")].into_iter().find(|name| directory.join(name).is_file())
}

/// An entry of sentence-transformers' `modules.json`: the steps from a text to its vector.
#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    r#type: String,
}

/// The pooling of sentence-transformers. Newer files name it, older ones have a switch for each way.
#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode: Option<String>,
    #[serde(default = "yes")]
    include_prompt: bool,
    #[serde(flatten)]
    switches: BTreeMap<String, serde_json::Value>,
}

fn yes() -> bool {
    true
}

impl PoolingConfig {
    fn pooling(&self) -> Result<Pooling, String> {
        let switched = self.switches.iter().filter(|(_, on)| **on == serde_json::Value::Bool(true));
        let mut modes: Vec<&str> = switched.filter_map(|(name, _)| name.strip_prefix("pooling_mode_")).collect();
        modes.extend(self.pooling_mode.as_deref());
        match modes[..] {
            ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
            ["cls_token" | "cls"] => Ok(Pooling::Cls),
            ["lasttoken"] => Ok(Pooling::Last),
            [] => Err("no pooling is switched on".to_owned()),
            _ => Err(format!(
                "pooling by {} is not supported; the mean, the first and the last token are",
                modes.join(" and ")
            )),
        }
    }
}

#[derive(Default, Deserialize)]
struct SentenceConfig {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
struct PromptConfig {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

fn sentence_transformers(directory: &Path, modules: &[Module]) -> Result<Description, EmbedError> {
    let path = directory.join("modules.json");
    let (mut pooling, mut normalize, mut transformer) = (None, false, None);
    for module in modules {
        if !module.path.is_empty() && !is_inside(&module.path) {
            return Err(EmbedError::bad_model(
                &path,
                format!("the module at {:?} lies outside of the directory", module.path),
            ));
        }
        match module.r#type.rsplit('.').next() {
            Some("Transformer") => transformer = Some(module.path.as_str()),
            Some("Pooling") => {
                let name = format!("{}/config.json", module.path);
                let Some(config) = read_json::<PoolingConfig>(directory, &name)? else {
                    return Err(EmbedError::bad_model(
                        &directory.join(&name),
                        "modules.json names it, and it is not there",
                    ));
                };
                if !config.include_prompt {
                    let reason = "include_prompt is false; leaving the prompt out of the pooling is not supported";
                    return Err(EmbedError::bad_model(&directory.join(&name), reason));
                }
                let mode = config.pooling().map_err(|reason| EmbedError::bad_model(&directory.join(&name), reason))?;
                pooling = Some(mode);
            }
            Some("Normalize") => normalize = true,
            _ => {
                let reason =
                    format!("a module {} is not supported; Transformer, Pooling and Normalize are", module.r#type);
                return Err(EmbedError::bad_model(&path, reason));
            }
        }
    }
    let Some(transformer) = transformer else {
        return Err(EmbedError::bad_model(&path, "it has no module Transformer"));
    };
    // Older exports keep the transformer's files in a folder of its own.
    let inner = directory.join(transformer);
    let inside = |name: &str| if transformer.is_empty() { name.to_owned() } else { format!("{transformer}/{name}") };
    let model = network(directory, "model").or_else(|| network(&inner, "model").map(|name| inside(&name)));
    let Some(model) = model else {
        let reason = "no model.onnx, here or in onnx/; export the model, with `optimum-cli export onnx` or as sentence-transformers does";
        return Err(EmbedError::bad_model(directory, reason));
    };
    let config: SentenceConfig = read_json(&inner, "sentence_bert_config.json")?.unwrap_or_default();
    let prompts: PromptConfig = read_json(directory, "config_sentence_transformers.json")?.unwrap_or_default();
    let mut limits = Limits::read(&inner)?;
    limits.max_tokens = config.max_seq_length.or(limits.max_tokens);
    let tower = text_tower(&inner, model, &limits)?;
    let text = TextTower {
        tokenizer: inside(&tower.tokenizer),
        pooling,
        lowercase: config.do_lower_case,
        // An empty prompt is none.
        default_prompt: prompts.default_prompt_name.filter(|name| prompts.prompts.contains_key(name)),
        prompts: prompts.prompts,
        ..tower
    };
    Ok(Description { text: Some(text), image: None, normalize, dims: None })
}

/// CLIP, SigLIP and their like. Both towers give vectors of any length; what they mean is their angle.
fn two_towers(directory: &Path, text: String, vision: String) -> Result<Description, EmbedError> {
    let mut limits = Limits::read(directory)?;
    // SigLIP was trained on texts padded to one length, and sees the padding.
    limits.pad_to = limits.max_tokens.filter(|_| limits.model_type.starts_with("siglip"));
    let Some(image) = images::tower(directory, vision)? else {
        let reason = "vision_model.onnx has no preprocessor_config.json beside it";
        return Err(EmbedError::bad_model(directory, reason));
    };
    let text = text_tower(directory, text, &limits)?;
    Ok(Description { text: Some(text), image: Some(image), normalize: true, dims: None })
}

/// What the configs of a model say of its texts.
struct Limits {
    max_tokens: Option<usize>,
    pad_to: Option<usize>,
    pad_token: Option<String>,
    pad_token_id: Option<u32>,
    model_type: String,
}

/// `config.json` of transformers; two-tower models have one for each tower in it.
#[derive(Default, Deserialize)]
struct ModelConfig {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    text_config: Option<Box<ModelConfig>>,
}

#[derive(Default, Deserialize)]
struct TokenizerConfig {
    /// A number, or one that stands for infinity.
    #[serde(default)]
    model_max_length: Option<f64>,
    /// A text, or an object with it as `content`.
    #[serde(default)]
    pad_token: serde_json::Value,
}

/// Models that count positions from after their padding token have so many fewer of them.
const OFFSET_POSITIONS: [&str; 5] = ["roberta", "xlm-roberta", "camembert", "mpnet", "longformer"];

impl Limits {
    fn read(directory: &Path) -> Result<Self, EmbedError> {
        let config: ModelConfig = read_json(directory, "config.json")?.unwrap_or_default();
        let tokenizer: TokenizerConfig = read_json(directory, "tokenizer_config.json")?.unwrap_or_default();
        let model_type = config.model_type;
        let text = config.text_config.as_deref();
        let offset = if OFFSET_POSITIONS.contains(&model_type.as_str()) {
            config.pad_token_id.map_or(0, |id| id as usize + 1)
        } else {
            0
        };
        let positions = text.and_then(|text| text.max_position_embeddings).or(config.max_position_embeddings);
        let positions = positions.map(|positions| positions.saturating_sub(offset));
        let stated =
            tokenizer.model_max_length.filter(|length| (1.0..1e6).contains(length)).map(|length| length as usize);
        let pad_token =
            tokenizer.pad_token.as_str().or_else(|| tokenizer.pad_token.get("content")?.as_str()).map(str::to_owned);
        Ok(Self {
            max_tokens: stated.into_iter().chain(positions).min(),
            pad_to: None,
            pad_token,
            pad_token_id: config.pad_token_id.or_else(|| text?.pad_token_id),
            model_type,
        })
    }
}

/// The part of `tokenizer.json` that is asked before it is loaded as a tokenizer.
#[derive(Default, Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    padding: Option<Padding>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct Padding {
    pad_id: u32,
}

/// A text tower as transformers' files describe it. Without pooling: those files do not tell.
fn text_tower(directory: &Path, model: String, limits: &Limits) -> Result<TextTower, EmbedError> {
    let tokenizer = "tokenizer.json";
    let Some(file) = read_json::<TokenizerFile>(directory, tokenizer)? else {
        let reason = "no tokenizer.json; save the tokenizer as a fast one (`AutoTokenizer.from_pretrained(...).save_pretrained(...)`)";
        return Err(EmbedError::bad_model(directory, reason));
    };
    let Some(max_tokens) = limits.max_tokens else {
        let reason =
            "neither sentence_bert_config.json, tokenizer_config.json nor config.json tells how many tokens it takes";
        return Err(EmbedError::bad_model(directory, reason));
    };
    let named =
        limits.pad_token.as_ref().and_then(|name| file.added_tokens.iter().find(|token| token.content == *name));
    let pad_token =
        named.map(|token| token.id).or(file.padding.map(|padding| padding.pad_id)).or(limits.pad_token_id).unwrap_or(0);
    Ok(TextTower {
        model,
        tokenizer: tokenizer.to_owned(),
        output: None,
        pooling: None,
        max_tokens,
        pad_to: limits.pad_to,
        pad_token,
        lowercase: false,
        prompts: BTreeMap::new(),
        default_prompt: None,
    })
}

#[cfg(test)]
mod tests;
