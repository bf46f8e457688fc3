//! Pictures: what they are, decoding them within limits, and bringing them into the form that a network takes.
//!
//! What is done follows Pillow, with which the models were trained: alpha is dropped, and blended only where a background is given; the
//! first frame of an animation is the picture; [`resample`] is Pillow's.

use std::io::Cursor;

use image::error::UnsupportedErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage, RgbaImage};

use crate::error::caught;
use crate::resample::resample;
use crate::{Channels, ImageError, ImageTower, Layout, Resize};

/// How large a picture may be. Checked on its header, before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Pixels a side.
    pub max_side: u32,
    /// Pixels in all.
    pub max_pixels: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { max_side: 32_768, max_pixels: 64_000_000 }
    }
}

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// `jpeg`, `png`, `gif`, `webp` or `bmp`.
    pub format: &'static str,
    /// As it is shown, which is after turning it as its metadata say; in pixels.
    pub width: u32,
    /// Likewise.
    pub height: u32,
}

/// Reads the header of a picture: its format and size. Nothing of the picture's size is allocated.
///
/// # Errors
///
/// If the bytes are no picture, or one that is not supported, or their header is damaged. Size is no error here.
pub fn image_info(bytes: &[u8]) -> Result<ImageInfo, ImageError> {
    let (format, mut decoder) = open(bytes)?;
    let (width, height) = decoder.dimensions();
    Ok(match turned(orientation(&mut decoder)) {
        false => ImageInfo { format, width, height },
        true => ImageInfo { format, width: height, height: width },
    })
}

/// The pictures that are read, and their names.
fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => Some("jpeg"),
        ImageFormat::Png => Some("png"),
        ImageFormat::Gif => Some("gif"),
        ImageFormat::WebP => Some("webp"),
        ImageFormat::Bmp => Some("bmp"),
        _ => None,
    }
}

/// What a decoder may allocate beside the picture itself, such as a profile of colours that is compressed.
const MAX_METADATA_BYTES: u64 = 64 << 20;

fn open(bytes: &[u8]) -> Result<(&'static str, impl ImageDecoder), ImageError> {
    let format = image::guess_format(bytes).map_err(|_| ImageError::NotAnImage)?;
    let known = name(format).ok_or_else(|| ImageError::Unsupported(format!("{format:?}")))?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_METADATA_BYTES);
    reader.limits(limits);
    Ok((known, reader.into_decoder().map_err(damage(known))?))
}

/// An error of the decoder in our words.
fn damage(format: &'static str) -> impl Fn(image::ImageError) -> ImageError {
    move |error| match error {
        image::ImageError::Unsupported(error) => match error.kind() {
            UnsupportedErrorKind::GenericFeature(feature) => {
                ImageError::Unsupported(format!("{format} with {feature}"))
            }
            _ => ImageError::Unsupported(format!("this kind of {format}")),
        },
        error => ImageError::Damaged { format, reason: error.to_string() },
    }
}

/// How the picture is turned. Metadata that cannot be read turn nothing, as in viewers.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Whether `orientation` changes width and height for each other.
fn turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Decodes a picture to 8 bits of red, green and blue, upright, before a background if there is one. Of an animation, the first frame.
fn decode(bytes: &[u8], background: Option<[u8; 3]>, limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let (format, mut decoder) = open(bytes)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if width > limits.max_side || height > limits.max_side || pixels > limits.max_pixels {
        let ImageLimits { max_side, max_pixels } = *limits;
        return Err(ImageError::TooLarge { width, height, max_side, max_pixels });
    }
    if pixels == 0 {
        return Err(ImageError::Damaged { format, reason: "it has no pixels".to_owned() });
    }
    // The decoder of JPEG fills what is missing with grey and says nothing.
    if format == "jpeg" && !jpeg_is_whole(bytes) {
        return Err(ImageError::Damaged { format, reason: "it ends before its end-of-image marker".to_owned() });
    }
    let orientation = orientation(&mut decoder);
    let malformed = |reason| ImageError::Damaged { format, reason };
    let mut picture = caught(malformed, || {
        let mut allowed = Limits::no_limits();
        // What the decoder makes, at up to four samples of 16 bits a pixel, and what it works in.
        allowed.max_alloc = Some(pixels * 16 + MAX_METADATA_BYTES);
        decoder.set_limits(allowed).map_err(damage(format))?;
        DynamicImage::from_decoder(decoder).map_err(damage(format))
    })?;
    picture.apply_orientation(orientation);
    Ok(match background {
        Some(background) if picture.color().has_alpha() => before(&picture.into_rgba8(), background),
        _ => picture.into_rgb8(),
    })
}

/// A picture before a background, by its alpha.
fn before(picture: &RgbaImage, background: [u8; 3]) -> RgbImage {
    let blended = |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        let blend = |(sample, behind): (u8, u8)| {
            let (sample, behind, alpha) = (u32::from(sample), u32::from(behind), u32::from(alpha));
            ((sample * alpha + behind * (255 - alpha) + 127) / 255) as u8
        };
        let [behind_red, behind_green, behind_blue] = background;
        Rgb([(red, behind_red), (green, behind_green), (blue, behind_blue)].map(blend))
    };
    RgbImage::from_fn(picture.width(), picture.height(), blended)
}

/// Whether a JPEG has its end: walks over the segments (ITU T.81, B.1.1) to the end-of-image marker. What follows it does not count.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const ESCAPED: u8 = 0x00;
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    while let Some(found) =
        bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair[0] == 0xFF && pair[1] != 0xFF))
    {
        let marker = bytes[at + found + 1];
        at += found + 2;
        match marker {
            END_OF_IMAGE => return true,
            // Inside of compressed data: a byte 0xFF, or a place to start again after damage. And a marker without a length.
            ESCAPED | 0xD0..=0xD7 | 0x01 => {}
            _ => match bytes.get(at..at + 2) {
                Some(length) => at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2),
                None => return false,
            },
        }
    }
    false
}

/// Decodes a picture and appends to `out` what the network of `tower` takes: 3 by crop height by crop width numbers, or in the order
/// of its layout.
///
/// # Errors
///
/// If it cannot be decoded within `limits`. `out` is as it was then.
pub(crate) fn prepare(
    bytes: &[u8],
    tower: &ImageTower,
    limits: &ImageLimits,
    out: &mut Vec<f32>,
) -> Result<(), ImageError> {
    let picture = decode(bytes, tower.background, limits)?;
    let (width, height) = picture.dimensions();
    let (resized_width, resized_height) = match tower.resize {
        Resize::ShorterSide(side) => shorter_side(width, height, side),
        Resize::Exact(size) => (size.width, size.height),
    };
    let middle = |resized: u32, crop: u32| (resized - crop) / 2..(resized - crop) / 2 + crop;
    let columns = middle(resized_width, tower.crop.width);
    let rows = middle(resized_height, tower.crop.height);
    let pixels = resample(&picture, (resized_width, resized_height), columns, rows, tower.filter);

    // Three tables instead of three operations a sample: there are only 256 values.
    let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|sample| (sample as f32 * tower.scale - tower.mean[channel]) / tower.std[channel])
    });
    let order = match tower.channels {
        Channels::Rgb => [0, 1, 2],
        Channels::Bgr => [2, 1, 0],
    };
    match tower.layout {
        Layout::Nchw => {
            for channel in order {
                out.extend(pixels.iter().map(|pixel| tables[channel][usize::from(pixel[channel])]));
            }
        }
        Layout::Nhwc => {
            for pixel in &pixels {
                out.extend(order.map(|channel| tables[channel][usize::from(pixel[channel])]));
            }
        }
    }
    Ok(())
}

/// Width and height when the shorter of them becomes `side`; the other is rounded down, as torchvision and transformers do.
fn shorter_side(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longer = |short: u32, long: u32| {
        let pixels = u64::from(side) * u64::from(long) / u64::from(short.max(1));
        u32::try_from(pixels).unwrap_or(u32::MAX)
    };
    if width <= height { (side, longer(width, height)) } else { (longer(height, width), side) }
}

#[cfg(test)]
pub(crate) mod tests;
