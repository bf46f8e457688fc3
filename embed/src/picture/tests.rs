//! Pictures that are refused, and what a network is given. That pictures are seen as Pillow sees them is tested in `tests/`.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};

use super::{ImageInfo, ImageLimits, image_info, prepare, shorter_side};
use crate::{Channels, Filter, ImageError, ImageTower, Layout, Resize, Size};

const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp];

fn tower(resize: Resize, side: u32) -> ImageTower {
    ImageTower {
        model: "model.onnx".to_owned(),
        output: None,
        pooling: None,
        background: None,
        resize,
        filter: Filter::Bicubic,
        crop: Size { width: side, height: side },
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        channels: Channels::Rgb,
        layout: Layout::Nchw,
    }
}

fn prepared(bytes: &[u8], tower: &ImageTower) -> Result<Vec<f32>, ImageError> {
    let mut out = Vec::new();
    prepare(bytes, tower, &ImageLimits::default(), &mut out).map(|()| out)
}

fn encoded(picture: RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, format).expect("it can be written");
    bytes.into_inner()
}

/// A picture without two rows or columns that are alike, so that every part of it is in its file.
pub(crate) fn busy(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, ((x * 31) ^ (y * 17)) as u8])
    })
}

/// A PNG of this size that has next to no data.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (kind, body) in [(b"IHDR", &header[..]), (b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]), (b"IEND", &[])] {
        bytes.extend((body.len() as u32).to_be_bytes());
        let chunk = [&kind[..], body].concat();
        bytes.extend(&chunk);
        bytes.extend(crc32fast::hash(&chunk).to_be_bytes());
    }
    bytes
}

#[test]
fn what_is_no_picture_is_refused() {
    let tower = tower(Resize::ShorterSide(8), 8);
    for bytes in [&b""[..], b"x", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8", &[0; 4096]] {
        assert_eq!(image_info(bytes).is_err(), prepared(bytes, &tower).is_err());
        assert!(prepared(bytes, &tower).is_err());
    }
    assert_eq!(prepared(b"hello world", &tower), Err(ImageError::NotAnImage));
    assert!(matches!(prepared(b"II*\0\x08\0\0\0", &tower), Err(ImageError::Unsupported(format)) if format == "Tiff"));
    let nothing = b"GIF89a\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\0\0\x02\x02\x44\x01\0\x3b";
    assert!(matches!(prepared(nothing, &tower), Err(ImageError::Damaged { format: "gif", .. })));
}

#[test]
fn a_size_beyond_the_limits_is_refused_by_the_header() {
    let tower = tower(Resize::ShorterSide(8), 8);
    let huge = png_of(50_000, 50_000);
    assert_eq!(image_info(&huge), Ok(ImageInfo { format: "png", width: 50_000, height: 50_000 }));
    let limits = ImageLimits::default();
    let too_large = |width, height| ImageError::TooLarge {
        width,
        height,
        max_side: limits.max_side,
        max_pixels: limits.max_pixels,
    };
    assert_eq!(prepared(&huge, &tower), Err(too_large(50_000, 50_000)));
    assert_eq!(prepared(&png_of(32_769, 1), &tower), Err(too_large(32_769, 1)));
    assert_eq!(prepared(&png_of(20_000, 20_000), &tower), Err(too_large(20_000, 20_000)));
    // Within the limits it is looked at, and found to be cut off.
    assert!(matches!(prepared(&png_of(100, 100), &tower), Err(ImageError::Damaged { format: "png", .. })));
    let mut out = Vec::new();
    let small = ImageLimits { max_side: 99, max_pixels: 1_000_000 };
    let refused = prepare(&encoded(busy(100, 10), ImageFormat::Bmp), &tower, &small, &mut out);
    assert_eq!(refused, Err(ImageError::TooLarge { width: 100, height: 10, max_side: 99, max_pixels: 1_000_000 }));
}

#[test]
fn pictures_that_are_cut_off_are_refused() {
    let tower = tower(Resize::ShorterSide(8), 8);
    for format in FORMATS {
        let whole = encoded(busy(120, 90), format);
        assert!(prepared(&whole, &tower).is_ok(), "{format:?}");
        for share in [1, 10, 50, 90, 98] {
            let cut = &whole[..whole.len() * share / 100];
            assert!(prepared(cut, &tower).is_err(), "{format:?} with {share} % of its bytes");
        }
    }
    let whole = encoded(busy(120, 90), ImageFormat::Jpeg);
    let reason = prepared(&whole[..whole.len() - 2], &tower).expect_err("cut").to_string();
    assert_eq!(reason, "damaged jpeg image: it ends before its end-of-image marker");
    // What cameras write behind a picture is no part of it.
    assert_eq!(prepared(&[&whole[..], b"trailer"].concat(), &tower), prepared(&whole, &tower));
}

#[test]
fn damage_never_ends_the_process() {
    let tower = tower(Resize::ShorterSide(8), 8);
    let (mut seed, mut refused) = (1_u32, 0);
    for format in FORMATS {
        let whole = encoded(busy(40, 30), format);
        for _ in 0..2_000 {
            let mut damaged = whole.clone();
            for _ in 0..3 {
                // A linear congruential generator (Knuth's MMIX has the idea, Numerical Recipes these constants).
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % damaged.len();
                damaged[at] ^= (seed >> 3) as u8 | 1;
            }
            refused += usize::from(prepared(&damaged, &tower).is_err());
        }
    }
    // A good part of it is noticed; pixels that changed cannot be.
    assert!(refused > 1_000, "only {refused} of 10,000 were refused");
}

#[test]
fn the_order_of_colours_and_dimensions_is_the_networks() {
    let picture = encoded(RgbImage::from_pixel(5, 9, image::Rgb([10, 20, 30])), ImageFormat::Png);
    let mut tower = tower(Resize::ShorterSide(2), 2);
    tower.scale = 0.5;
    tower.mean = [1.0, 2.0, 3.0];
    tower.std = [1.0, 2.0, 4.0];
    let (red, green, blue) = (4.0, 4.0, 3.0);
    let planes = |colours: [f32; 3]| colours.map(|colour| [colour; 4]).concat();
    assert_eq!(prepared(&picture, &tower), Ok(planes([red, green, blue])));
    tower.channels = Channels::Bgr;
    assert_eq!(prepared(&picture, &tower), Ok(planes([blue, green, red])));
    tower.layout = Layout::Nhwc;
    assert_eq!(prepared(&picture, &tower), Ok([blue, green, red].repeat(4)));
}

#[test]
fn the_middle_is_taken_whatever_the_proportions() {
    assert_eq!(shorter_side(640, 427, 256), (383, 256));
    assert_eq!(shorter_side(427, 640, 256), (256, 383));
    assert_eq!(shorter_side(1, 32_768, 4_096), (4_096, 134_217_728));
    // Left third black, middle white, right black: only the middle is seen.
    let striped = RgbImage::from_fn(3_000, 100, |x, _| {
        if (1_000..2_000).contains(&x) { image::Rgb([255; 3]) } else { image::Rgb([0; 3]) }
    });
    let seen = prepared(&encoded(striped, ImageFormat::Png), &tower(Resize::ShorterSide(64), 64)).expect("a picture");
    assert_eq!(seen, vec![255.0; 3 * 64 * 64]);
    // A line of pixels would be resized to gigabytes, were not only the middle computed.
    let line = prepared(&encoded(busy(32_768, 1), ImageFormat::Png), &tower(Resize::ShorterSide(4_000), 224))
        .expect("a picture");
    assert_eq!(line.len(), 3 * 224 * 224);
}

#[test]
fn what_is_transparent_shows_the_background() {
    let picture = RgbaImage::from_fn(8, 8, |x, _| image::Rgba([10, 20, 30, [0, 255, 128, 128][x as usize % 4]]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgba8(picture).write_to(&mut bytes, ImageFormat::Png).expect("it can be written");
    let bytes = bytes.into_inner();
    let whole = tower(Resize::Exact(Size { width: 8, height: 8 }), 8);
    let reds = |tower: &ImageTower| prepared(&bytes, tower).expect("a picture")[..4].to_vec();
    assert_eq!(reds(&whole), [10.0; 4]);
    let white = ImageTower { background: Some([255, 255, 255]), ..whole };
    assert_eq!(reds(&white), [255.0, 10.0, 132.0, 132.0]);
}
