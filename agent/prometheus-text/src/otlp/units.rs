//! Prometheus' words for units, as UCUM has them.

/// The unit of OTLP for a unit of Prometheus: `seconds` is `s`, `ratio` is `1`, `meters_per_second` is `m/s`. What is
/// not known stays as it is.
///
/// ```
/// use whimbrel_prometheus_text::unit;
/// assert_eq!(unit("bytes_per_second"), "By/s");
/// assert_eq!(unit("parsecs"), "parsecs");
/// ```
#[must_use]
pub fn unit(name: &str) -> String {
    match name.split_once("_per_") {
        // Of "per" only the singular follows.
        Some((of, per)) => format!("{}/{}", one(of), singular(per)),
        None => one(name).to_owned(),
    }
}

fn one(name: &str) -> &str {
    match name {
        "days" => "d",
        "hours" => "h",
        "minutes" => "min",
        "seconds" => "s",
        "milliseconds" => "ms",
        "microseconds" => "us",
        "nanoseconds" => "ns",
        "bytes" => "By",
        "bits" => "bit",
        "kibibytes" => "KiBy",
        "mebibytes" => "MiBy",
        "gibibytes" => "GiBy",
        "tebibytes" => "TiBy",
        "kilobytes" => "KBy",
        "megabytes" => "MBy",
        "gigabytes" => "GBy",
        "terabytes" => "TBy",
        "meters" => "m",
        "volts" => "V",
        "amperes" => "A",
        "joules" => "J",
        "watts" => "W",
        "grams" => "g",
        "kelvin" => "K",
        "celsius" => "Cel",
        "hertz" => "Hz",
        "ratio" => "1",
        "percent" => "%",
        other => other,
    }
}

fn singular(name: &str) -> &str {
    match name {
        "second" => "s",
        "minute" => "min",
        "hour" => "h",
        "day" => "d",
        "week" => "wk",
        "month" => "mo",
        "year" => "a",
        "meter" => "m",
        "byte" => "By",
        other => one(other),
    }
}
