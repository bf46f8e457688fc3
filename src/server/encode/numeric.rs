//! `numeric` from the decimal digits of an integer and a scale.

use smallvec::SmallVec;

use crate::query::arrow::Shown;

/// Where the point of a decimal column stands and how many digits behind it are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// Digits behind the point in the column; negative for zeros before it.
    stored: i32,
    /// Digits behind the point that a client sees.
    shown: Shown,
}

impl Scale {
    /// The scale of an Arrow decimal whose column has this `atttypmod`.
    pub(super) fn new(precision: u8, stored: i8, modifier: i32) -> Self {
        Self { stored: i32::from(stored), shown: Shown::new(precision, stored, modifier) }
    }

    /// The digits before the point and those behind it that are shown, trailing zeros left to the caller to add.
    fn split<'d>(self, digits: &'d str, whole: &'d mut SmallVec<[u8; 96]>) -> (&'d [u8], usize) {
        whole.clear();
        if digits != "0" {
            whole.extend_from_slice(digits.as_bytes());
        }
        let fraction = usize::try_from(self.stored).unwrap_or_else(|_| {
            if !whole.is_empty() {
                whole.resize(whole.len() + self.stored.unsigned_abs() as usize, b'0');
            }
            0
        });
        // At least as many digits as stand behind the point.
        if whole.len() < fraction {
            let missing = fraction - whole.len();
            whole.insert_many(0, std::iter::repeat_n(b'0', missing));
        }
        (&whole[..], whole.len() - fraction)
    }

    /// The digits behind the point, without those beyond what is shown, and the number that is shown.
    fn fraction(self, digits: &[u8], point: usize) -> (&[u8], usize) {
        let whole = digits.iter().position(|&digit| digit != b'0').map(|first| point as i64 - first as i64);
        let digits = &digits[point..];
        let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        let shown = self.shown.digits(whole).max(significant);
        (&digits[..digits.len().min(shown)], shown)
    }

    /// Appends the text form of a number of these digits.
    pub(super) fn write_text(self, negative: bool, digits: &str, out: &mut Vec<u8>) {
        let mut buffer = SmallVec::new();
        let (digits, point) = self.split(digits, &mut buffer);
        let (fraction, shown) = self.fraction(digits, point);
        if negative {
            out.push(b'-');
        }
        match &digits[..point] {
            [] => out.push(b'0'),
            whole => out.extend_from_slice(whole),
        }
        if shown > 0 {
            out.push(b'.');
            out.extend_from_slice(fraction);
            out.extend(std::iter::repeat_n(b'0', shown - fraction.len()));
        }
    }

    /// Appends the binary form: groups of four digits, with the weight of the first, the sign, and the digits shown.
    pub(super) fn write_binary(self, negative: bool, digits: &str, out: &mut Vec<u8>) {
        let mut buffer = SmallVec::new();
        let (digits, point) = self.split(digits, &mut buffer);
        let (fraction, shown) = self.fraction(digits, point);
        let whole = &digits[..point];
        let first = whole.len() % 4;
        let (partial, rest) = whole.split_at(first);
        let mut weight = whole.len().div_ceil(4) as i32 - 1;
        let mut groups: SmallVec<[i16; 24]> = SmallVec::new();
        if !partial.is_empty() {
            groups.push(group(partial));
        }
        groups.extend(rest.chunks(4).map(group));
        for chunk in fraction.chunks(4) {
            let missing = 4 - chunk.len() as u32;
            groups.push(group(chunk) * 10i16.pow(missing));
        }
        let leading = groups.iter().take_while(|&&group| group == 0).count();
        groups.drain(..leading);
        weight -= leading as i32;
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        let sign: u16 = if negative && !groups.is_empty() { 0x4000 } else { 0 };
        out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
        out.extend_from_slice(&(weight as i16).to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&(shown as u16).to_be_bytes());
        for group in groups {
            out.extend_from_slice(&group.to_be_bytes());
        }
    }
}

fn group(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |value, digit| value * 10 + i16::from(digit - b'0'))
}
