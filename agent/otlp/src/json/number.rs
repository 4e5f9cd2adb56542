//! Numbers as JSON has them, to the bits of the field that they are for.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use crate::schema::Number;

/// 2^53: up to here every integer is a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads one number; `None` for `null`.
pub(super) struct Seed(pub(super) Number);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed {
    fn integer<E: de::Error>(&self, value: i128) -> Result<Option<u64>, E> {
        let fits = |low: i128, high: i128| (low..=high).contains(&value);
        let bits = match self.0 {
            Number::Unsigned32 if fits(0, u32::MAX.into()) => value as u64,
            Number::Unsigned64 if fits(0, u64::MAX.into()) => value as u64,
            // An int32 or enum that is negative takes all 64 bits of a varint.
            Number::Signed32 if fits(i32::MIN.into(), i32::MAX.into()) => value as i64 as u64,
            Number::Signed64 if fits(i64::MIN.into(), i64::MAX.into()) => value as i64 as u64,
            Number::Zigzag32 if fits(i32::MIN.into(), i32::MAX.into()) => {
                let value = value as i32;
                u64::from(((value << 1) ^ (value >> 31)) as u32)
            }
            Number::Double => (value as f64).to_bits(),
            Number::Bool => return Err(E::custom(format_args!("{value}, where true or false is due"))),
            _ => return Err(E::custom(format_args!("{value}, which is not {}", self.due()))),
        };
        Ok(Some(bits))
    }

    fn due(&self) -> &'static str {
        match self.0 {
            Number::Unsigned32 => "an integer of 0 to 4294967295",
            Number::Signed32 | Number::Zigzag32 => "an integer of 32 bits",
            Number::Unsigned64 => "an integer of 0 to 18446744073709551615",
            Number::Signed64 => "an integer of 64 bits",
            Number::Double => "a number, or NaN, Infinity or -Infinity as text",
            Number::Bool => "true or false",
        }
    }
}

impl Visitor<'_> for Seed {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.due())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Option<u64>, E> {
        match self.0 {
            Number::Bool => Ok(Some(u64::from(value))),
            _ => Err(E::custom(format_args!("{value}, where {} is due", self.due()))),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<u64>, E> {
        self.integer(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<u64>, E> {
        self.integer(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<u64>, E> {
        match self.0 {
            Number::Double => Ok(Some(value.to_bits())),
            // 1e3 is an integer, written in another way; beyond 2^53 nobody knows which one was meant.
            _ if value.fract() == 0.0 && value.abs() <= EXACT => self.integer(value as i128),
            _ => Err(E::custom(format_args!("{value}, which is not {}", self.due()))),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u64>, E> {
        if self.0 == Number::Double {
            let value = match text {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                // Rust reads "inf" and "nan", too; protobuf's JSON does not.
                other => other.parse().ok().filter(|number: &f64| number.is_finite()),
            };
            return value
                .map(|value| Some(value.to_bits()))
                .ok_or_else(|| E::custom(format_args!("a text that is not {}", self.due())));
        }
        match text.parse::<i128>() {
            Ok(value) if self.0 != Number::Bool => self.integer(value),
            _ => Err(E::custom(format_args!("a text that is not {}", self.due()))),
        }
    }
}
