//! Files that are tables of names and numbers: `/proc/meminfo`, `/proc/vmstat`.
//!
//! A dozen of some two hundred lines are wanted, so only those are parsed. (procfs makes a hash map of all of
//! them first, and takes a kernel that leaves out one line for a broken one.)

/// The numbers of `keys`, in their order; none for what is not there. A unit after the number is not looked at:
/// in `/proc/meminfo` it is always `kB`, and means KiB.
pub(super) fn pick<const N: usize>(text: &str, keys: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in text.lines() {
        let Some((key, rest)) = line.split_once([':', ' ']) else { continue };
        if let Some(place) = keys.iter().position(|wanted| *wanted == key) {
            found[place] = rest.split_ascii_whitespace().next().and_then(|number| number.parse().ok());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_found_and_only_numbers_are_numbers() {
        let text = "MemTotal:       24684084 kB\nMemTotalX: 1 kB\npgfault 7\nHugePages_Total:       0\n\nodd\nbad x\n";
        let found = pick(text, ["pgfault", "MemTotal", "HugePages_Total", "bad", "odd", "absent"]);
        assert_eq!(found, [Some(7), Some(24_684_084), Some(0), None, None, None]);
    }
}
