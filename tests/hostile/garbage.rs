//! The ways in which a push can be no OTLP: each refused, none stored.

/// What a push names: metrics, logs, traces.
const METRICS: u32 = 0;
const LOGS: u32 = 1;
const TRACES: u32 = 2;

/// Field `number`, length-delimited, with the length in two bytes, which may be more than it needs.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short contents only");
    assert!(length < 1 << 14, "two bytes of length");
    let [low, high] = [length & 0x7f, length >> 7].map(|bits| bits.to_le_bytes()[0]);
    [&[number << 3 | 2, low | 0x80, high], content].concat()
}

/// Within the first resource, its first scope.
fn in_scope(content: &[u8]) -> Vec<u8> {
    field(1, &field(2, content))
}

/// Within a gauge.
fn in_gauge(content: &[u8]) -> Vec<u8> {
    in_scope(&field(2, &field(5, content)))
}

/// Name, signal, bytes.
pub(crate) fn kinds() -> Vec<(&'static str, u32, Vec<u8>)> {
    let deep = (0..60).fold(Vec::new(), |inner: Vec<u8>, _| field(5, &field(1, &inner)));
    vec![
        ("a text", LOGS, b"hello, OTLP".to_vec()),
        ("an HTML page", METRICS, b"<html>".to_vec()),
        ("JSON", TRACES, b"{\"resourceSpans\":[]}".to_vec()),
        ("a tag that never ends", LOGS, vec![0xff; 11]),
        ("a tag cut off", LOGS, vec![0x8a]),
        ("field number 0", LOGS, vec![0x02, 0x00]),
        ("field number 2^29", LOGS, vec![0x82, 0x80, 0x80, 0x80, 0x10, 0]),
        ("wire type 6", LOGS, in_scope(&[0x7e])),
        ("wire type 7", LOGS, in_scope(&[0x7f])),
        ("a group", METRICS, in_gauge(&[0x53, 0x54])),
        ("a resource longer than the request", LOGS, vec![0x0a, 5, 0]),
        ("a name longer than its metric", METRICS, in_scope(&field(2, &[0x0a, 9, b'x']))),
        ("a length of 2^63", LOGS, vec![0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("a time of four bytes", METRICS, in_gauge(&field(1, &[0x19, 1, 2, 3, 4]))),
        ("a time as a varint", METRICS, in_gauge(&field(1, &[0x18, 1]))),
        ("a name as a number", TRACES, in_scope(&field(2, &[0x28, 1]))),
        ("a temporality as a message", METRICS, in_scope(&field(2, &field(7, &field(2, b"x"))))),
        ("a name that is not UTF-8", METRICS, in_scope(&field(2, &field(1, b"caf\xe9")))),
        ("a surrogate in a body", LOGS, in_scope(&field(2, &field(5, &field(1, b"\xed\xa0\x80"))))),
        ("a trace id of 15 bytes", TRACES, in_scope(&field(2, &field(1, &[7; 15])))),
        ("a parent's span id of 16 bytes", TRACES, in_scope(&field(2, &field(4, &[7; 16])))),
        ("bounds in 12 bytes", METRICS, in_scope(&field(2, &field(9, &field(1, &field(7, &[0; 12])))))),
        (
            "a gauge that is a sum, too",
            METRICS,
            in_scope(&field(2, &[field(5, &[]), field(7, &[])].concat())),
        ),
        ("arrays within arrays", LOGS, in_scope(&field(2, &field(5, &deep)))),
    ]
}

/// Items and the body of `collect` of a plugin that pushes all of them, one after the other.
pub(crate) fn guest() -> (String, String) {
    let (mut items, mut collect) = (String::new(), "(global.set $heap (i32.const 65536))".to_owned());
    let mut at = 0;
    for (_, signal, bytes) in kinds() {
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        items.push_str(&format!("(data (i32.const {at}) \"{escaped}\")\n"));
        collect.push_str(&format!(
            "(call $push (i32.const 2) (i32.const {signal}) (i32.const {at}) (i32.const {}) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 2048))\n",
            bytes.len()
        ));
        at += bytes.len();
    }
    assert!(at <= 1024, "what is free for items");
    collect.push_str("(i32.const 1024)");
    (items, collect)
}
