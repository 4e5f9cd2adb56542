//! A typed batch of metrics as it lies in a guest's memory, by the canonical ABI.

/// Addresses from here on; below is what [`super::module`] uses.
const BASE: u32 = 4096;

/// Bytes of memory from `BASE` on, laid out as they are written.
struct Memory(Vec<u8>);

impl Memory {
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = BASE + self.0.len() as u32;
        self.0.extend_from_slice(bytes);
        at
    }

    /// A string or a list: where it lies, and how long it is.
    fn text(&mut self, text: &str) -> [u8; 8] {
        pair(self.put(text.as_bytes()), text.len())
    }
}

fn pair(at: u32, len: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&at.to_le_bytes());
    bytes[4..].copy_from_slice(&(len as u32).to_le_bytes());
    bytes
}

/// One resource with one gauge `m` (unit `By`, description `d`) of so many points. Each point has so many
/// attributes `key.N` with text values, the time N and the double N.
///
/// Answers items for a module, and the address of the list of resources (of length 1).
pub(crate) fn gauge(points: usize, attributes: usize) -> (String, u32) {
    let mut memory = Memory(Vec::new());
    let mut all = Vec::new();
    for n in 0..points {
        let mut list = Vec::new();
        for key in 0..attributes {
            list.extend(memory.text(&format!("key.{key}")));
            // value: case `text`, padding, string.
            list.extend([0; 8]);
            list.extend(memory.text(&format!("value-{}", n % 10)));
        }
        let list = memory.put(&list);
        all.extend(pair(list, attributes));
        all.extend(0u64.to_le_bytes());
        all.extend((n as u64).to_le_bytes());
        // number: case `double`, padding, f64.
        all.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        all.extend((n as f64).to_le_bytes());
    }
    let all = memory.put(&all);
    let mut metric = Vec::new();
    for text in ["m", "By", "d"] {
        metric.extend(memory.text(text));
    }
    // data: case `gauge`, padding, list, the rest of the largest case.
    metric.extend([0; 4]);
    metric.extend(pair(all, points));
    metric.extend([0; 4]);
    assert_eq!(metric.len(), 40);
    let metric = memory.put(&metric);
    // resource: none; scope: none.
    let mut resource = vec![0; 36];
    resource.extend(pair(metric, 1));
    let resource = memory.put(&resource);
    let text: String = memory.0.iter().map(|byte| format!("\\{byte:02x}")).collect();
    (format!(r#"(data (i32.const {BASE}) "{text}")"#), resource)
}

/// Pages of memory for such a batch.
pub(crate) fn pages(points: usize, attributes: usize) -> u32 {
    2 + ((points * (48 + attributes * 48)) >> 16) as u32
}
