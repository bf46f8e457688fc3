//! Resampling beside Pillow's, and a part beside the whole.

use image::RgbImage;

use super::resample;
use crate::Filter;
use crate::picture::tests::busy;

const FILTERS: [Filter; 6] =
    [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Hamming, Filter::Bicubic, Filter::Lanczos];

/// CRC-32 of what Pillow 13.0 makes of `busy` by each filter:
/// `zlib.crc32(np.asarray(Image.fromarray(busy).resize(size, filter)).tobytes())`.
#[test]
fn every_bit_is_as_pillow_has_it() {
    let of_pillow = [
        ((40, 30), (12, 9), [0xeac8c8cb, 0x9a032779, 0xefa9ea19, 0xd7ef289c, 0xd3890e37, 0x11ac5b8a]),
        ((40, 30), (96, 62), [0x153ff2de, 0x153ff2de, 0x3df4de4f, 0xaa938eab, 0x9429b434, 0xdf752ee9]),
        ((500, 3), (20, 40), [0x763aa1f6, 0xea7fd4f4, 0x477445a8, 0xc118094d, 0x379310a6, 0xbad18057]),
        ((64, 64), (64, 64), [0xce16af27, 0xce16af27, 0xce16af27, 0xce16af27, 0xce16af27, 0xce16af27]),
        ((1000, 700), (368, 256), [0x06f3ac85, 0x55840896, 0x406d14f2, 0x6dcb28bb, 0x9943be31, 0xb6601ba9]),
    ];
    for ((width, height), (resized_width, resized_height), expected) in of_pillow {
        let picture = busy(width, height);
        for (filter, expected) in FILTERS.into_iter().zip(expected) {
            let size = (resized_width, resized_height);
            let pixels = resample(&picture, size, 0..resized_width, 0..resized_height, filter);
            let hash = crc32fast::hash(pixels.as_flattened());
            assert_eq!(hash, expected, "{filter:?} from {width} x {height} to {size:?}");
        }
    }
}

#[test]
fn a_part_is_the_part_of_the_whole() {
    let picture = busy(50, 40);
    for filter in FILTERS {
        for (width, height) in [(20, 16), (125, 100)] {
            let whole = resample(&picture, (width, height), 0..width, 0..height, filter);
            let part = resample(&picture, (width, height), 3..11, 5..16, filter);
            let rows = (5..16).flat_map(|row| &whole[(row * width + 3) as usize..(row * width + 11) as usize]);
            assert!(part.iter().eq(rows), "{filter:?}");
        }
    }
}

#[test]
fn overshoot_stays_within_bounds() {
    let striped = RgbImage::from_fn(9, 9, |x, y| image::Rgb([if (x + y) % 3 == 0 { 255 } else { 0 }; 3]));
    for filter in [Filter::Bicubic, Filter::Lanczos] {
        let pixels = resample(&striped, (90, 90), 0..90, 0..90, filter);
        assert!(pixels.contains(&[255; 3]) && pixels.contains(&[0; 3]), "{filter:?}");
    }
}
