//! OTLP/JSON: what is read walks, and reads again from what it is written as.

#![no_main]

use whimbrel_otlp::{Signal, from_json, to_json, walk};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, json)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(*first) % 3];
    if let Ok(request) = from_json(signal, json) {
        let walked = walk(signal, &request).expect("what was read walks");
        let text = to_json(signal, &request).expect("it can be written");
        let again = from_json(signal, text.as_bytes()).expect("what was written can be read");
        assert_eq!(walk(signal, &again).expect("it walks").items, walked.items);
        assert_eq!(to_json(signal, &again).expect("it can be written"), text);
    }
});
