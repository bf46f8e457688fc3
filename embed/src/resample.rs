//! Resampling as Pillow does it, to the bit.
//!
//! A network was trained with pictures that Pillow had scaled, and on flat ones, such as icons, it tells apart what differs by one unit in
//! one sample of a hundred. The algorithm is Pillow's `ImagingResample` for 8 bits (separable convolution, widened by the factor where
//! a picture shrinks): weights in fixed point, columns first, rounded to 8 bits between the passes. Of a crop only what is kept is
//! computed.

use std::f64::consts::PI;
use std::ops::Range;

use image::RgbImage;

use crate::Filter;

/// Bits of a weight after the point: 8 are the sample's, and sums of weights with their overshoot take less than two more.
const PRECISION: u32 = 32 - 8 - 2;

/// What one sample is made of: the first it is made from, and the weights of that one and those after it.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Tap {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// The pixels of `columns` by `rows` of a picture that is scaled to `width` by `height`, row by row.
pub(crate) fn resample(
    picture: &RgbImage,
    (width, height): (u32, u32),
    columns: Range<u32>,
    rows: Range<u32>,
    filter: Filter,
) -> Vec<[u8; 3]> {
    let across = taps(picture.width(), width, columns, filter);
    let down = taps(picture.height(), height, rows, filter);
    let first = down.iter().map(|tap| tap.first).min().unwrap_or(0);
    let end = down.iter().map(Tap::end).max().unwrap_or(0);
    let source = picture.as_raw().chunks_exact(3 * picture.width() as usize);
    let mut narrow = Vec::with_capacity((end - first) * 3 * across.len());
    // Four to a pixel, as many as a register has.
    let mut wide = Vec::with_capacity(picture.width() as usize);
    for row in source.take(end).skip(first) {
        wide.clear();
        wide.extend(row.as_chunks::<3>().0.iter().map(|&[red, green, blue]| [red, green, blue, 0].map(i32::from)));
        for tap in &across {
            let mut sums = [1 << (PRECISION - 1); 4];
            for (pixel, weight) in wide[tap.first..].iter().zip(&tap.weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, sample)| *sum += sample * weight);
            }
            narrow.extend_from_slice(&sums.map(sample)[..3]);
        }
    }
    let stride = 3 * across.len();
    let mut out = Vec::with_capacity(down.len() * across.len());
    let mut sums = vec![0_i32; stride];
    for tap in &down {
        sums.fill(1 << (PRECISION - 1));
        for (row, weight) in narrow[(tap.first - first) * stride..].chunks_exact(stride).zip(&tap.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, sample)| *sum += i32::from(*sample) * weight);
        }
        out.extend(sums.as_chunks::<3>().0.iter().map(|pixel| pixel.map(sample)));
    }
    out
}

fn sample(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// What those of `kept` are made of where `side` samples become `resized`.
fn taps(side: u32, resized: u32, kept: Range<u32>, filter: Filter) -> Vec<Tap> {
    let scale = f64::from(side) / f64::from(resized);
    if filter == Filter::Nearest {
        // Of two that are equally near the latter; Pillow leaves that to errors of rounding.
        let nearest = |at: u32| ((f64::from(at) + 0.5) * scale) as usize;
        return kept.map(|at| Tap { first: nearest(at), weights: vec![1 << PRECISION] }).collect();
    }
    let widened = scale.max(1.0);
    let support = reach(filter) * widened;
    kept.map(|at| {
        let center = (f64::from(at) + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(side as usize);
        let weigh = |from: usize| weight(filter, (from as f64 - center + 0.5) * (1.0 / widened));
        let weights: Vec<f64> = (first..end).map(weigh).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let scaled = weight / sum * f64::from(1 << PRECISION);
            (scaled + 0.5_f64.copysign(scaled)) as i32
        };
        Tap { first, weights: weights.into_iter().map(fixed).collect() }
    })
    .collect()
}

/// How far from its centre a filter has weights, in samples.
fn reach(filter: Filter) -> f64 {
    match filter {
        Filter::Nearest | Filter::Box => 0.5,
        Filter::Bilinear | Filter::Hamming => 1.0,
        Filter::Bicubic => 2.0,
        Filter::Lanczos => 3.0,
    }
}

fn weight(filter: Filter, x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    let distance = x.abs();
    match filter {
        Filter::Nearest | Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
        Filter::Bilinear => (1.0 - distance).max(0.0),
        // Its two constants are floats.
        Filter::Hamming if distance < 1.0 => {
            sinc(distance) * (f64::from(0.54_f32) + f64::from(0.46_f32) * (distance * PI).cos())
        }
        // Keys's cubic convolution with a = -0.5.
        Filter::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
        Filter::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5,
        Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
        Filter::Hamming | Filter::Bicubic | Filter::Lanczos => 0.0,
    }
}

#[cfg(test)]
mod tests;
