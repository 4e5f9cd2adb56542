//! All detectors, one over the other, and the configuration over them all.

use std::collections::BTreeMap;

use super::{Surroundings, cloud, container, host, kubernetes, os};

/// Found attributes, overlaid by the `configured` ones. An empty configured value removes a found one.
pub(crate) fn attributes(
    configured: &BTreeMap<String, String>,
    around: &Surroundings<'_>,
) -> BTreeMap<String, String> {
    // The later wins: a cloud's id of the instance is the host's id there.
    let found = [
        host::detect(around),
        os::detect(around),
        cloud::detect(around),
        container::detect(around),
        kubernetes::detect(around),
    ];
    let found = found.into_iter().flatten().filter(|(_, value)| !value.is_empty());
    let mut attributes: BTreeMap<_, _> = found.map(|(key, value)| (key.to_owned(), value)).collect();
    for (key, value) in configured {
        if value.is_empty() {
            attributes.remove(key);
        } else {
            attributes.insert(key.clone(), value.clone());
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_configured_wins_and_an_empty_value_removes() {
        let configured = BTreeMap::from([
            ("host.name".to_owned(), "gateway-7".to_owned()),
            ("os.type".to_owned(), String::new()),
            ("service.name".to_owned(), "edge".to_owned()),
        ]);
        let attributes = attributes(&configured, &Surroundings::of_this_process(Path::new("/")));
        assert_eq!(attributes["host.name"], "gateway-7");
        assert_eq!(attributes["service.name"], "edge");
        assert!(!attributes.contains_key("os.type"));
        assert!(attributes.contains_key("host.arch"));
    }

    #[test]
    fn a_clouds_id_of_the_instance_is_the_hosts() {
        let files = [
            ("/etc/machine-id", "4c4c4544004b3510805ac3c04f4d3132"),
            ("/sys/class/dmi/id/sys_vendor", "Amazon EC2"),
            ("/sys/class/dmi/id/board_asset_tag", "i-0b22a22eec53b9321"),
        ];
        let found = super::super::surroundings::tests::found(
            |around| {
                let all = attributes(&BTreeMap::new(), around);
                BTreeMap::from([("host.id", all["host.id"].clone())])
            },
            &files,
            &[],
        );
        assert_eq!(found["host.id"], "i-0b22a22eec53b9321");
    }
}
