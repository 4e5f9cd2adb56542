//! Where two JSON values differ, told by place: a difference of lines would tell of braces.

use serde_json::Value;

/// So many differences are told.
const MOST: usize = 20;

/// The places where `got` is not as `expected`, in their order; none where both are the same.
pub(super) fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, got, &mut found);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn compare(place: &str, expected: &Value, got: &Value, found: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(wanted), Value::Object(given)) => {
            for (key, value) in wanted {
                let place = format!("{place}.{key}");
                match given.get(key) {
                    Some(other) => compare(&place, value, other, found),
                    None => found.push(format!("{}: expected {}, is missing", shown(&place), short(value))),
                }
            }
            for (key, value) in given.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                found.push(format!(
                    "{}: not expected, is {}",
                    shown(&format!("{place}.{key}")),
                    short(value)
                ));
            }
        }
        (Value::Array(wanted), Value::Array(given)) => {
            for at in 0..wanted.len().max(given.len()) {
                let place = format!("{place}[{at}]");
                match (wanted.get(at), given.get(at)) {
                    (Some(value), Some(other)) => compare(&place, value, other, found),
                    (Some(value), None) => {
                        found.push(format!("{}: expected {}, is missing", shown(&place), short(value)))
                    }
                    (None, Some(other)) => {
                        found.push(format!("{}: not expected, is {}", shown(&place), short(other)))
                    }
                    (None, None) => {}
                }
            }
        }
        _ if expected == got => {}
        _ => found.push(format!("{}: expected {}, is {}", shown(place), short(expected), short(got))),
    }
}

fn shown(place: &str) -> &str {
    let place = place.trim_start_matches('.');
    if place.is_empty() { "all of it" } else { place }
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_by_place() {
        let expected = json!({"collects": [{"log": ["a", "b"], "batches": []}], "failed": null});
        let got = json!({"collects": [{"log": ["a", "c", "d"]}, 1], "failed": null, "more": true});
        assert_eq!(
            differences(&expected, &got),
            [
                "collects[0].batches: expected [], is missing",
                "collects[0].log[1]: expected \"b\", is \"c\"",
                "collects[0].log[2]: not expected, is \"d\"",
                "collects[1]: not expected, is 1",
                "more: not expected, is true",
            ]
        );
        assert!(differences(&got, &got).is_empty());
        assert_eq!(differences(&json!(1), &json!("1")), ["all of it: expected 1, is \"1\""]);
    }

    #[test]
    fn a_flood_is_cut() {
        let long = |value: u32| json!(vec![value; 100]);
        let found = differences(&long(1), &long(2));
        assert_eq!((found.len(), found.last().unwrap().as_str()), (MOST + 1, "and 80 more"));
    }
}
