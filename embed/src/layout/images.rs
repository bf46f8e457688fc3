//! How a model's pictures are prepared: `preprocessor_config.json` of transformers, `config.json` of timm.

use std::path::Path;

use serde::Deserialize;

use super::read_json;
use crate::{Channels, EmbedError, Filter, ImageTower, Layout, Resize, Size};

/// The tower of the network `model`, as the first of the two files describes it; `None` where neither does.
pub(super) fn tower(directory: &Path, model: String) -> Result<Option<ImageTower>, EmbedError> {
    if let Some(config) = read_json::<Preprocessor>(directory, "preprocessor_config.json")? {
        let tower = config
            .tower(model)
            .map_err(|reason| EmbedError::bad_model(&directory.join("preprocessor_config.json"), reason))?;
        return Ok(Some(tower));
    }
    let Some(Timm { pretrained_cfg: Some(config) }) = read_json::<Timm>(directory, "config.json")? else {
        return Ok(None);
    };
    config.tower(model).map(Some).map_err(|reason| EmbedError::bad_model(&directory.join("config.json"), reason))
}

/// A size as transformers has it in several ways.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Extent {
    One(u32),
    Shorter { shortest_edge: u32 },
    Both { height: u32, width: u32 },
}

/// `preprocessor_config.json`. What is missing has the defaults of CLIP's and ViT's processors.
#[derive(Deserialize)]
struct Preprocessor {
    #[serde(default)]
    image_processor_type: Option<String>,
    /// What older files call it; some have both.
    #[serde(default)]
    feature_extractor_type: Option<String>,
    #[serde(default = "super::yes")]
    do_resize: bool,
    size: Extent,
    #[serde(default)]
    crop_pct: Option<f64>,
    #[serde(default = "bilinear")]
    resample: u8,
    #[serde(default)]
    do_center_crop: bool,
    #[serde(default)]
    crop_size: Option<Extent>,
    #[serde(default = "super::yes")]
    do_rescale: bool,
    #[serde(default = "rescale_factor")]
    rescale_factor: f64,
    #[serde(default = "super::yes")]
    do_normalize: bool,
    #[serde(default = "zeros")]
    image_mean: [f32; 3],
    #[serde(default = "ones")]
    image_std: [f32; 3],
    #[serde(default)]
    do_pad: bool,
    #[serde(default)]
    do_flip_channel_order: bool,
}

fn bilinear() -> u8 {
    2
}

fn rescale_factor() -> f64 {
    1.0 / 255.0
}

fn zeros() -> [f32; 3] {
    [0.0; 3]
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

/// From this size on ConvNext's processor brings pictures to it without keeping proportions or cropping.
const CONVNEXT_WARPS_FROM: u32 = 384;

impl Preprocessor {
    fn tower(&self, model: String) -> Result<ImageTower, String> {
        if !self.do_resize || self.do_pad {
            return Err(
                "only pictures that are resized and not padded (do_resize, without do_pad) are supported".to_owned()
            );
        }
        let square = |side| Size { width: side, height: side };
        let processor = self.image_processor_type.as_ref().or(self.feature_extractor_type.as_ref());
        let convnext = processor.is_some_and(|name| name.starts_with("ConvNext"));
        let crops = self.do_center_crop || convnext;
        let resize = match self.size {
            Extent::One(side) | Extent::Shorter { shortest_edge: side } if convnext => match self.crop_pct {
                _ if side >= CONVNEXT_WARPS_FROM => Resize::Exact(square(side)),
                Some(share) if share > 0.0 && share <= 1.0 => Resize::ShorterSide((f64::from(side) / share) as u32),
                Some(share) => return Err(format!("crop_pct is {share}; it must be above 0 and at most 1")),
                None => Resize::ShorterSide((f64::from(side) / 0.875) as u32),
            },
            Extent::Shorter { shortest_edge } => Resize::ShorterSide(shortest_edge),
            Extent::Both { height, width } => Resize::Exact(Size { width, height }),
            // A number alone is the shorter side for processors that crop, and both sides for others.
            Extent::One(side) if crops => Resize::ShorterSide(side),
            Extent::One(side) => Resize::Exact(square(side)),
        };
        let crop =
            match (self.crop_size, self.size, resize) {
                (Some(Extent::One(side) | Extent::Shorter { shortest_edge: side }), ..) if crops => square(side),
                (Some(Extent::Both { height, width }), ..) if crops => Size { width, height },
                (_, Extent::One(side) | Extent::Shorter { shortest_edge: side }, _) if crops => square(side),
                (_, _, Resize::Exact(size)) => size,
                _ => return Err(
                    "it resizes the shorter side and does not crop: the network would be given pictures of every shape"
                        .to_owned(),
                ),
            };
        let filter = match self.resample {
            0 => Filter::Nearest,
            1 => Filter::Lanczos,
            2 => Filter::Bilinear,
            3 => Filter::Bicubic,
            4 => Filter::Box,
            5 => Filter::Hamming,
            other => return Err(format!("resample is {other}; Pillow's filters are 0 to 5")),
        };
        Ok(ImageTower {
            model,
            output: None,
            pooling: None,
            background: None,
            resize,
            filter,
            crop,
            scale: if self.do_rescale { self.rescale_factor as f32 } else { 1.0 },
            mean: if self.do_normalize { self.image_mean } else { zeros() },
            std: if self.do_normalize { self.image_std } else { ones() },
            channels: if self.do_flip_channel_order { Channels::Bgr } else { Channels::Rgb },
            layout: Layout::Nchw,
        })
    }
}

/// `config.json` of timm.
#[derive(Deserialize)]
struct Timm {
    #[serde(default)]
    pretrained_cfg: Option<TimmConfig>,
}

#[derive(Deserialize)]
struct TimmConfig {
    /// Channels, height, width.
    input_size: [u32; 3],
    #[serde(default = "timm_crop_pct")]
    crop_pct: f64,
    #[serde(default = "timm_crop_mode")]
    crop_mode: String,
    #[serde(default = "timm_interpolation")]
    interpolation: String,
    mean: [f32; 3],
    std: [f32; 3],
}

fn timm_crop_pct() -> f64 {
    0.875
}

fn timm_crop_mode() -> String {
    "center".to_owned()
}

fn timm_interpolation() -> String {
    "bicubic".to_owned()
}

impl TimmConfig {
    fn tower(&self, model: String) -> Result<ImageTower, String> {
        let [channels, height, width] = self.input_size;
        if channels != 3 {
            return Err(format!("its pictures have {channels} channels; only 3 are supported"));
        }
        if !(self.crop_pct > 0.0 && self.crop_pct <= 1.0) {
            return Err(format!("crop_pct is {}; it must be above 0 and at most 1", self.crop_pct));
        }
        let wider = |side: u32| (f64::from(side) / self.crop_pct).floor() as u32;
        let resize = match self.crop_mode.as_str() {
            "center" if height == width => Resize::ShorterSide(wider(height)),
            "squash" => Resize::Exact(Size { width: wider(width), height: wider(height) }),
            mode => {
                return Err(format!(
                    "crop_mode {mode} of {width} x {height} pixels is not supported; center of a square and squash are"
                ));
            }
        };
        let filter = match self.interpolation.as_str() {
            "nearest" => Filter::Nearest,
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "box" => Filter::Box,
            "hamming" => Filter::Hamming,
            "lanczos" => Filter::Lanczos,
            other => return Err(format!("interpolation {other} is not one of Pillow's filters")),
        };
        Ok(ImageTower {
            model,
            output: None,
            pooling: None,
            background: None,
            resize,
            filter,
            crop: Size { width, height },
            scale: 1.0 / 255.0,
            mean: self.mean,
            std: self.std,
            channels: Channels::Rgb,
            layout: Layout::Nchw,
        })
    }
}
