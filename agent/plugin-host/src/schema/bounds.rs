//! The keywords of a schema that hold a number against a number, a length or a count.

use serde_json::Value;

const BOUNDS: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];

/// Whether the keyword is one of those that are understood here.
pub(super) fn is_bound(keyword: &str) -> bool {
    BOUNDS.contains(&keyword)
}

/// What is wrong with the value, where the keyword refuses it. A keyword for another type refuses nothing.
pub(super) fn refuses(keyword: &str, rule: &Value, value: &Value) -> Option<String> {
    let bound = rule.as_f64()?;
    let number = value.as_f64();
    let length = value.as_str().map(|text| text.chars().count() as f64);
    let items = value.as_array().map(|items| items.len() as f64);
    let entries = value.as_object().map(|entries| entries.len() as f64);
    let (fits, what) = match keyword {
        "minimum" => (number? >= bound, "is less than"),
        "maximum" => (number? <= bound, "is more than"),
        "exclusiveMinimum" => (number? > bound, "is not more than"),
        "exclusiveMaximum" => (number? < bound, "is not less than"),
        // Of fractions it can't be told for sure: 0.3 is no multiple of 0.1 in binary.
        "multipleOf" if bound.fract() == 0.0 && bound > 0.0 => (number? % bound == 0.0, "is no multiple of"),
        "minLength" => (length? >= bound, "is shorter, in characters, than"),
        "maxLength" => (length? <= bound, "is longer, in characters, than"),
        "minItems" => (items? >= bound, "has fewer items than"),
        "maxItems" => (items? <= bound, "has more items than"),
        "minProperties" => (entries? >= bound, "has fewer keys than"),
        "maxProperties" => (entries? <= bound, "has more keys than"),
        _ => return None,
    };
    (!fits).then(|| format!("{what} {rule}"))
}
