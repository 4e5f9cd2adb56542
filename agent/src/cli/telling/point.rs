//! Data points: what kind they are of, and their values as people write them.

use serde_json::Value;

use crate::cli::words;

/// What the points of a metric mean, and they.
pub(super) fn of(metric: &Value) -> (String, impl Iterator<Item = &Value>) {
    let known = [
        ("gauge", "gauge"),
        ("sum", "counter"),
        ("histogram", "histogram"),
        ("exponentialHistogram", "exponential histogram"),
        ("summary", "summary"),
    ];
    let found = known.into_iter().find(|(field, _)| metric[field].is_object());
    let (field, name) = found.unwrap_or(("", "nothing"));
    let data = &metric[field];
    let name = if field == "sum" && data["isMonotonic"] != true { "up-down counter" } else { name };
    let delta = if data["aggregationTemporality"] == 1 { ", delta" } else { "" };
    (format!("{name}{delta}"), words::list(&data["dataPoints"]))
}

/// The value as people read it, and the exact one with its unit where the first is not exact.
pub(super) fn value(point: &Value, unit: &str) -> (String, String) {
    if let Some(number) = [&point["asInt"], &point["asDouble"]].into_iter().find(|value| !value.is_null()) {
        return number_of(number, unit);
    }
    if point["quantileValues"].is_array() {
        let quantiles = words::list(&point["quantileValues"]).map(|one| {
            let share = one["quantile"].as_f64().unwrap_or(0.0) * 100.0;
            format!("p{share} {}", with_unit(&one["value"], unit))
        });
        let quantiles: Vec<_> = quantiles.collect();
        return (format!("{}  {}", counted(point, unit), quantiles.join("  ")), String::new());
    }
    if point["count"].is_null() && point["sum"].is_null() && point["bucketCounts"].is_null() {
        return ("-".to_owned(), String::new()); // A series that ended.
    }
    let buckets = if point["bucketCounts"].is_array() { buckets(point, unit) } else { exponential(point) };
    (format!("{}  {buckets}", counted(point, unit)).trim_end().to_owned(), String::new())
}

/// `12 values, sum 3.5 s, 0.1 s to 0.9 s`
fn counted(point: &Value, unit: &str) -> String {
    let mut text = format!("{} values", point["count"].as_str().unwrap_or("0"));
    if !point["sum"].is_null() {
        text.push_str(&format!(", sum {}", with_unit(&point["sum"], unit)));
    }
    if !point["min"].is_null() && !point["max"].is_null() {
        text.push_str(&format!(", {} to {}", with_unit(&point["min"], unit), with_unit(&point["max"], unit)));
    }
    text
}

/// `≤0.1: 3  ≤0.5: 2  >0.5: 7`: buckets that hold something.
fn buckets(point: &Value, unit: &str) -> String {
    let bounds: Vec<&Value> = words::list(&point["explicitBounds"]).collect();
    let counts = words::list(&point["bucketCounts"]).map(words::plain).enumerate();
    let shown =
        counts.filter(|(_, count)| count != "0").map(|(at, count)| match (bounds.get(at), bounds.last()) {
            (Some(bound), _) => format!("≤{}: {count}", with_unit(bound, unit)),
            (None, Some(bound)) => format!(">{}: {count}", with_unit(bound, unit)),
            (None, None) => format!("all: {count}"),
        });
    shown.collect::<Vec<_>>().join("  ")
}

fn exponential(point: &Value) -> String {
    let filled = |side: &str| {
        words::list(&point[side]["bucketCounts"])
            .filter(|count| count.as_str().is_some_and(|it| it != "0"))
            .count()
    };
    let scale = point["scale"].as_i64().unwrap_or(0);
    let (below, zero, above) =
        (filled("negative"), point["zeroCount"].as_str().unwrap_or("0"), filled("positive"));
    format!("scale {scale}: {below} buckets below zero, {zero} values at zero, {above} buckets above")
}

fn with_unit(value: &Value, unit: &str) -> String {
    number_of(value, unit).0
}

/// A number with its UCUM unit: bytes as MiB, shares as %, times as people write them, anything else as it is.
fn number_of(value: &Value, unit: &str) -> (String, String) {
    let exact = words::plain(value);
    // `{process}` only says what is counted, which the name does, too.
    let short = if unit.starts_with('{') { "" } else { unit };
    let number = value.as_f64().or_else(|| exact.parse().ok()).filter(|number| number.is_finite());
    let people = match (number, unit) {
        (Some(number), "By") if (0.0..1e18).contains(&number) => words::bytes(Some(number as u64)),
        (Some(number), "By/s") if (0.0..1e18).contains(&number) => {
            format!("{}/s", words::bytes(Some(number as u64)))
        }
        (Some(share), "1") => format!("{:.1} %", share * 100.0),
        (Some(number), "s") => seconds(number),
        (Some(hertz), "Hz") if hertz >= 1e6 => format!("{:.0} MHz", hertz / 1e6),
        _ => return (format!("{exact} {short}").trim_end().to_owned(), String::new()),
    };
    // Where nothing was rounded, once is enough.
    let digits = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let same =
        digits(&people) == exact && !people.contains(['K', 'M', 'G', 'T', '%']) && !people.contains("ms");
    let exact = format!("{exact} {}", if unit == "1" { "" } else { short });
    (people, if same { String::new() } else { exact.trim_end().to_owned() })
}

/// A duration in its two largest units, or in the one that fits.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        60.0.. => words::duration_ms(Some((seconds * 1000.0) as u64)),
        1.0.. => format!("{} s", rounded(seconds)),
        1e-3.. => format!("{} ms", rounded(seconds * 1e3)),
        1e-6.. => format!("{} µs", rounded(seconds * 1e6)),
        _ => format!("{seconds} s"),
    }
}

/// At most two places, and none that say nothing.
fn rounded(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_by_people_and_nothing_is_hidden() {
        for (point, unit, people, exact) in [
            (json!({ "asInt": "1536" }), "By", "1.5 KiB", "1536 By"),
            (json!({ "asInt": "12" }), "By", "12 B", ""),
            (json!({ "asDouble": 0.25618 }), "1", "25.6 %", "0.25618"),
            (json!({ "asDouble": 7500.25 }), "s", "2h 5m", "7500.25 s"),
            (json!({ "asDouble": 1.5 }), "s", "1.5 s", ""),
            (json!({ "asDouble": 0.0125 }), "s", "12.5 ms", "0.0125 s"),
            (json!({ "asInt": "5" }), "{process}", "5", ""),
            (json!({ "asInt": "5" }), "W", "5 W", ""),
            (json!({ "asDouble": "NaN" }), "By", "NaN By", ""),
            (json!({ "asDouble": 2.4e9 }), "Hz", "2400 MHz", "2400000000.0 Hz"),
            (json!({}), "By", "-", ""),
        ] {
            assert_eq!(value(&point, unit), (people.to_owned(), exact.to_owned()), "{point} {unit}");
        }
    }

    #[test]
    fn distributions_say_what_they_hold() {
        let histogram = json!({
            "count": "12", "sum": 3.5, "min": 0.05, "max": 2.5,
            "explicitBounds": [0.1, 0.5], "bucketCounts": ["3", "0", "9"],
        });
        assert_eq!(value(&histogram, "s").0, "12 values, sum 3.5 s, 50 ms to 2.5 s  ≤100 ms: 3  >500 ms: 9");
        let summary = json!({ "count": "2", "sum": 3, "quantileValues": [{ "quantile": 0.5, "value": 1 }] });
        assert_eq!(value(&summary, "").0, "2 values, sum 3  p50 1");
        let exponential = json!({
            "count": "4", "scale": 3, "zeroCount": "1", "positive": { "offset": 2, "bucketCounts": ["1", "0", "2"] },
        });
        assert_eq!(
            value(&exponential, "").0,
            "4 values  scale 3: 0 buckets below zero, 1 values at zero, 2 buckets above"
        );
    }

    #[test]
    fn kinds_are_named() {
        let kind = |metric: Value| of(&metric).0;
        assert_eq!(
            kind(json!({ "sum": { "isMonotonic": true, "aggregationTemporality": 1 } })),
            "counter, delta"
        );
        assert_eq!(kind(json!({ "sum": {} })), "up-down counter");
        assert_eq!(kind(json!({ "histogram": {} })), "histogram");
    }
}
