//! Exact decimal numbers: amounts before and after they meet the scale of an asset.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::{ParseError, serde_as_text};

/// Maximum number of digits after the point: the most that an asset may have, and room for a
/// percentage in common currencies.
const SCALE_MAX: u32 = 18;

/// Maximum amount in minor units: the sum of ten thousand million of them still fits.
const UNITS_MAX: i128 = 10_i128.pow(28);

/// An exact decimal number with up to 18 digits after the point.
///
/// It remembers the number of digits that it was written with (`10.50` and `10.5` are equal and
/// print differently). If a percentage or a division made more digits than an asset has, it also
/// remembers the [`Rounding`] to apply once the scale is known. All arithmetic is checked.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    units: i128,
    scale: u32,
    /// Number of digits after the point to write if no asset is known.
    shown: u32,
    rounding: Option<Rounding>,
}

/// Method to make a number fit into fewer digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
    /// To the nearest; halves away from zero.
    HalfUp,
    /// To the nearest; halves towards zero.
    HalfDown,
    /// To the nearest; halves to the even neighbour.
    HalfEven,
}

impl Rounding {
    /// All names.
    pub const NAMES: [&'static str; 5] = ["down", "up", "half_up", "half_down", "half_even"];
}

impl FromStr for Rounding {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text {
            "down" => Self::Down,
            "up" => Self::Up,
            "half_up" => Self::HalfUp,
            "half_down" => Self::HalfDown,
            "half_even" => Self::HalfEven,
            _ => {
                return Err(ParseError::new(
                    "must be one of down, up, half_up, half_down, half_even",
                ));
            }
        })
    }
}

/// Fault of a number or an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// More digits after the point than allowed.
    #[error("the amount has more digits after the point than its asset")]
    NotExact,
    /// Too large for any account.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { units: 0, scale: 0, shown: 0, rounding: None };

    /// Returns a number of whole units.
    #[must_use]
    pub const fn whole(units: i64) -> Self {
        Self { units: units as i128, scale: 0, shown: 0, rounding: None }
    }

    /// Converts minor units of an asset with this scale to a number.
    #[must_use]
    pub const fn from_minor(units: i128, scale: u8) -> Self {
        Self { units, scale: scale as u32, shown: scale as u32, rounding: None }
    }

    /// Converts the number to minor units of an asset with this scale. Digits that a percentage
    /// made are rounded by its rounding.
    ///
    /// # Errors
    /// [`DecimalError::NotExact`] for digits that somebody wrote and the asset does not have,
    /// [`DecimalError::OutOfRange`].
    pub fn to_minor(self, scale: u8) -> Result<i128, DecimalError> {
        let fitted = self.fit(u32::from(scale), self.rounding)?;
        if fitted.units.abs() > UNITS_MAX {
            Err(DecimalError::OutOfRange)
        } else {
            Ok(fitted.units)
        }
    }

    /// Returns the number padded with zeros to this scale if it has fewer digits. Digits that a
    /// percentage made are rounded to the scale, by its rounding.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`]
    pub fn of_scale(self, scale: u8) -> Result<Self, DecimalError> {
        if self.rounding.is_some() {
            return self.fit(u32::from(scale), self.rounding);
        }
        Ok(Self { shown: self.shown.max(u32::from(scale)), ..self })
    }

    /// Returns the number to write if no asset is known. Digits that a percentage made are rounded
    /// to two, or to as many as the number was written with if those are more.
    #[must_use]
    pub fn settled(self) -> Self {
        match self.rounding {
            None => self,
            Some(_) => self.fit(self.shown.max(2), self.rounding).unwrap_or(self),
        }
    }

    /// Returns `percent` per cent of it; digits beyond the asset's are rounded when its scale is
    /// known.
    ///
    /// # Errors
    /// [`DecimalError`]
    pub fn percent(self, percent: Self, rounding: Rounding) -> Result<Self, DecimalError> {
        let units = self.units.checked_mul(percent.units).ok_or(DecimalError::OutOfRange)?;
        let product = Self {
            units,
            scale: self.scale + percent.scale + 2,
            shown: self.shown.max(2),
            rounding: Some(rounding),
        };
        product.trimmed()
    }

    /// Returns the sum.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`]
    pub fn plus(self, other: Self) -> Result<Self, DecimalError> {
        let (left, right, scale) = self.aligned(other)?;
        let units = left.checked_add(right).ok_or(DecimalError::OutOfRange)?;
        Self {
            units,
            scale,
            shown: self.shown.max(other.shown),
            rounding: self.rounding.or(other.rounding),
        }
        .trimmed()
    }

    /// Returns the difference.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`]
    pub fn minus(self, other: Self) -> Result<Self, DecimalError> {
        self.plus(Self { units: -other.units, ..other })
    }

    /// Returns the product with a whole factor.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`]
    pub fn times(self, factor: i64) -> Result<Self, DecimalError> {
        let units = self.units.checked_mul(i128::from(factor)).ok_or(DecimalError::OutOfRange)?;
        Self { units, ..self }.trimmed()
    }

    /// Returns the negative number.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self { units: -self.units, ..self }
    }

    /// Splits the number into parts by these weights, in whole minor units of the scale (`None`: the
    /// digits that it is written with, two at least). The parts add up to it, and no part is more
    /// than one minor unit from its share. The first parts get the remainder, one unit each.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`] for a negative number, for weights that are negative or add up
    /// to zero, and for parts that do not fit.
    pub fn split(self, weights: &[i64], scale: Option<u8>) -> Result<Vec<Self>, DecimalError> {
        let scale = scale.map_or_else(|| self.shown.max(2), u32::from);
        let whole = self.fit(scale, self.rounding)?;
        let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        if total <= 0 || weights.iter().any(|weight| *weight < 0) || whole.units < 0 {
            return Err(DecimalError::OutOfRange);
        }
        let mut parts = Vec::with_capacity(weights.len());
        let mut left = whole.units;
        for weight in weights {
            let product = whole.units.checked_mul(i128::from(*weight));
            let units = product.ok_or(DecimalError::OutOfRange)? / total;
            left -= units;
            parts.push(Self { units, ..whole });
        }
        for (part, _) in parts.iter_mut().zip(weights).filter(|(_, weight)| **weight > 0) {
            if left == 0 {
                break;
            }
            part.units += 1;
            left -= 1;
        }
        Ok(parts)
    }

    /// Returns whether it is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.units > 0
    }

    /// Returns whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.units < 0
    }

    fn aligned(self, other: Self) -> Result<(i128, i128, u32), DecimalError> {
        let scale = self.scale.max(other.scale);
        let up = |number: Self| {
            let factor = 10_i128.checked_pow(scale - number.scale);
            factor.and_then(|factor| number.units.checked_mul(factor))
        };
        match (up(self), up(other)) {
            (Some(left), Some(right)) => Ok((left, right, scale)),
            _ => Err(DecimalError::OutOfRange),
        }
    }

    /// Removes trailing zeros that were not written, and checks the bounds.
    fn trimmed(mut self) -> Result<Self, DecimalError> {
        while self.scale > self.shown && self.units % 10 == 0 {
            self.units /= 10;
            self.scale -= 1;
        }
        if self.scale > SCALE_MAX {
            let rounding = self.rounding.ok_or(DecimalError::NotExact)?;
            self = self.fit(SCALE_MAX, Some(rounding))?;
        }
        let whole = self.units / 10_i128.pow(self.scale);
        if whole.abs() > UNITS_MAX { Err(DecimalError::OutOfRange) } else { Ok(self) }
    }

    fn fit(self, scale: u32, rounding: Option<Rounding>) -> Result<Self, DecimalError> {
        if scale >= self.scale {
            let factor = 10_i128.checked_pow(scale - self.scale);
            let units = factor.and_then(|factor| self.units.checked_mul(factor));
            let units = units.ok_or(DecimalError::OutOfRange)?;
            return Ok(Self { units, scale, shown: scale, rounding: None });
        }
        let divisor = 10_i128.pow(self.scale - scale);
        let (quotient, rest) = (self.units / divisor, (self.units % divisor).abs());
        let sign = if self.units < 0 { -1 } else { 1 };
        let away = match (rest, rounding) {
            (0, _) | (_, Some(Rounding::Down)) => 0,
            (_, None) => return Err(DecimalError::NotExact),
            (_, Some(Rounding::Up)) => sign,
            (rest, Some(mode)) => match (rest * 2).cmp(&divisor) {
                Ordering::Less => 0,
                Ordering::Greater => sign,
                Ordering::Equal => match mode {
                    Rounding::HalfUp => sign,
                    Rounding::HalfEven if quotient % 2 != 0 => sign,
                    _ => 0,
                },
            },
        };
        Ok(Self { units: quotient + away, scale, shown: scale, rounding: None })
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    /// Compares the numbers alone, however they are written.
    fn cmp(&self, other: &Self) -> Ordering {
        if let Ok((left, right, _)) = self.aligned(*other) {
            return left.cmp(&right);
        }
        // One of them is so large that it does not fit into the scale of the other.
        let whole = |number: &Self| number.units / 10_i128.pow(number.scale);
        whole(self).cmp(&whole(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = self.scale.max(self.shown);
        let extra = 10_u128.pow(scale - self.scale);
        let units = self.units.unsigned_abs() * extra;
        let one = 10_u128.pow(scale);
        let sign = if self.units < 0 { "-" } else { "" };
        if scale == 0 {
            return write!(f, "{sign}{units}");
        }
        write!(f, "{sign}{}.{:0width$}", units / one, units % one, width = scale as usize)
    }
}

impl FromStr for Decimal {
    type Err = ParseError;

    /// Parses a sign, digits, and a point with digits after it: `-12.50`. No exponent, no blanks,
    /// no point without digits on both sides, no leading zero before another digit.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: ParseError = ParseError::new(
            "must be a decimal number like 12.50, without exponent, with at most 18 digits after \
             the point",
        );
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let point_alone = digits.contains('.') && fraction.is_empty();
        let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        let too_long = whole.len() > 19 || fraction.len() > SCALE_MAX as usize;
        if whole.is_empty() || point_alone || !all_digits || leading_zero || too_long {
            return Err(EXPECTED);
        }
        let units = whole.bytes().chain(fraction.bytes()).try_fold(0_i128, |units, digit| {
            units.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
        });
        let units = units.ok_or(EXPECTED)?;
        let scale = u32::try_from(fraction.len()).map_err(|_| EXPECTED)?;
        let units = if negative { -units } else { units };
        Ok(Self { units, scale, shown: scale, rounding: None })
    }
}

serde_as_text!(Decimal);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn only_plain_decimals_are_read() {
        for text in ["0", "0.5", "12.50", "-3", "9999999999999999999", "0.000000000000000001"] {
            assert_eq!(d(text).to_string(), text);
        }
        for wrong in
            ["", "-", ".5", "5.", "01", "1e3", " 1", "1 ", "+1", "1,5", "0x1", "NaN", "--1"]
        {
            assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_amount_fits_its_asset_or_is_refused() {
        assert_eq!(d("12.50").to_minor(2), Ok(1250));
        assert_eq!(d("12.5").to_minor(2), Ok(1250));
        assert_eq!(d("12.500").to_minor(2), Ok(1250));
        assert_eq!(d("12.501").to_minor(2), Err(DecimalError::NotExact));
        assert_eq!(d("12.5").to_minor(0), Err(DecimalError::NotExact));
        assert_eq!(Decimal::from_minor(-5, 2).to_string(), "-0.05");
        assert_eq!(Decimal::from_minor(1000, 0).to_string(), "1000");
    }

    #[test]
    fn a_percentage_is_rounded_when_the_scale_is_known() {
        let fee = |amount: &str, mode| d(amount).percent(d("0.5"), mode).unwrap();
        assert_eq!(
            d("250.00").plus(fee("250.00", Rounding::HalfEven)).unwrap().to_minor(2),
            Ok(25125)
        );
        assert_eq!(d("100").plus(fee("100", Rounding::HalfEven)).unwrap().to_minor(2), Ok(10050));
        assert_eq!(fee("1001", Rounding::HalfEven).to_minor(0), Ok(5));
        assert_eq!(fee("1100", Rounding::HalfEven).to_minor(0), Ok(6));
        assert_eq!(fee("1100", Rounding::HalfDown).to_minor(0), Ok(5));
        assert_eq!(fee("1100", Rounding::HalfUp).to_minor(0), Ok(6));
        assert_eq!(fee("1001", Rounding::Up).to_minor(0), Ok(6));
        assert_eq!(fee("0.33", Rounding::Down).settled().to_string(), "0.00");
        assert_eq!(fee("250.00", Rounding::Down).settled().to_string(), "1.25");
        assert_eq!(fee("250", Rounding::Down).settled().to_string(), "1.25");
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        assert_eq!(d("10"), d("10.00"));
        assert!(d("9.99") < d("10"));
        assert_eq!(d("10.00").plus(d("0.5")).unwrap().to_string(), "10.50");
        assert_eq!(d("1.10").times(3).unwrap().to_string(), "3.30");
    }

    proptest! {
        #[test]
        fn a_split_loses_nothing(units in 0..10_i128.pow(15), weights in prop::collection::vec(0_i64..50, 1..20)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let whole = Decimal::from_minor(units, 2);
            let parts = whole.split(&weights, None).unwrap();
            let sum = parts.iter().try_fold(Decimal::ZERO, |sum, part| sum.plus(*part)).unwrap();
            prop_assert_eq!(sum, whole);
            for (part, weight) in parts.iter().zip(&weights) {
                prop_assert!(*weight > 0 || part.units == 0);
            }
        }

        #[test]
        fn text_and_back_is_the_same(units in -(10_i128.pow(17))..10_i128.pow(17), scale in 0_u8..8) {
            let number = Decimal::from_minor(units, scale);
            prop_assert_eq!(d(&number.to_string()), number);
        }
    }
}
