//! `cloud.*` and what a cloud calls its instances, without asking anybody: by the firmware's tables (DMI), which every
//! cloud marks, and by what cloud-init wrote down at boot.
//!
//! cloud-init blots out for other users than root what it takes for secret; that is as good as not there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Surroundings;

const DMI: &str = "/sys/class/dmi/id";

/// What cloud-init knows of the instance, in a form that is the same for all clouds and one of each.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";

const INSTANCE_ID: &str = "/var/lib/cloud/data/instance-id";

/// A cloud, and how it is known.
struct Cloud {
    provider: &'static str,
    platform: Option<&'static str>,
    /// cloud-init's name of it.
    init: &'static [&'static str],
    /// Field of the firmware's tables, and how its text begins. One is enough.
    firmware: &'static [(&'static str, &'static str)],
    /// Where the firmware has the instance's id, and how that begins.
    id: Option<(&'static str, &'static str)>,
    /// Where the firmware has the kind of instance.
    kind: Option<&'static str>,
}

const CLOUDS: [Cloud; 10] = [
    Cloud {
        provider: "aws",
        platform: Some("aws_ec2"),
        init: &["aws", "ec2"],
        firmware: &[("sys_vendor", "Amazon EC2"), ("bios_vendor", "Amazon EC2")],
        id: Some(("board_asset_tag", "i-")),
        kind: Some("product_name"),
    },
    Cloud {
        provider: "gcp",
        platform: Some("gcp_compute_engine"),
        init: &["gce", "gcp"],
        firmware: &[("product_name", "Google Compute Engine")],
        id: None,
        kind: None,
    },
    Cloud {
        provider: "azure",
        platform: Some("azure.vm"),
        init: &["azure"],
        // Hyper-V at home has the same vendor; the tag is Azure's alone.
        firmware: &[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")],
        id: None,
        kind: None,
    },
    Cloud {
        provider: "alibaba_cloud",
        platform: Some("alibaba_cloud_ecs"),
        init: &["aliyun", "alibaba"],
        firmware: &[("sys_vendor", "Alibaba Cloud"), ("product_name", "Alibaba Cloud ECS")],
        id: None,
        kind: None,
    },
    Cloud {
        provider: "oracle_cloud",
        platform: None,
        init: &["oracle"],
        firmware: &[("chassis_asset_tag", "OracleCloud.com")],
        id: None,
        kind: None,
    },
    Cloud {
        provider: "tencent_cloud",
        platform: Some("tencent_cloud_cvm"),
        init: &["tencent"],
        firmware: &[("sys_vendor", "Tencent Cloud")],
        id: None,
        kind: None,
    },
    Cloud {
        provider: "hetzner",
        platform: Some("hetzner.cloud_server"),
        init: &["hetzner"],
        firmware: &[("sys_vendor", "Hetzner")],
        // Its bare machines have other vendors.
        id: Some(("product_serial", "")),
        kind: None,
    },
    Cloud {
        provider: "vultr",
        platform: Some("vultr.cloud_compute"),
        init: &["vultr"],
        firmware: &[("sys_vendor", "Vultr")],
        id: Some(("product_serial", "")),
        kind: None,
    },
    Cloud {
        provider: "akamai_cloud",
        platform: Some("akamai_cloud.compute"),
        init: &["akamai", "linode"],
        firmware: &[("sys_vendor", "Akamai"), ("sys_vendor", "Linode")],
        id: Some(("product_serial", "")),
        kind: None,
    },
    Cloud {
        provider: "scaleway_cloud",
        platform: Some("scaleway_cloud_compute"),
        init: &["scaleway"],
        firmware: &[("sys_vendor", "Scaleway")],
        id: None,
        kind: None,
    },
];

pub(super) fn detect(around: &Surroundings<'_>) -> BTreeMap<&'static str, String> {
    let init = around.host_file(INSTANCE_DATA).and_then(|text| serde_json::from_str(&text).ok());
    let init = Init(init.unwrap_or_default());
    let firmware = |field: &str| around.host_file(&format!("{DMI}/{field}"));
    let marked = |cloud: &&Cloud| {
        let is = |(field, text): &(&str, &str)| firmware(field).is_some_and(|value| value.starts_with(text));
        cloud.firmware.iter().any(is)
    };
    let named = |cloud: &&Cloud| {
        let name = init.text(&["/v1/cloud_name", "/v1/cloud-name", "/v1/platform"]);
        name.is_some_and(|name| cloud.init.contains(&name.as_str()))
    };
    // The firmware first: an image made on another cloud brings the other's notes along.
    let cloud = CLOUDS.iter().find(marked).or_else(|| CLOUDS.iter().find(named));
    let Some(cloud) = cloud else { return BTreeMap::new() };

    // Notes of another cloud, or of another boot of the image elsewhere, are not of this instance.
    let init = if named(&cloud) { init } else { Init(Value::Null) };
    let id = cloud.id.and_then(|(field, begin)| firmware(field).filter(|id| id.starts_with(begin)));
    let noted = || {
        let noted = (init.0 != Value::Null).then(|| around.host_file(INSTANCE_ID))??;
        (!noted.starts_with("iid-")).then_some(noted)
    };
    let kind = cloud.kind.and_then(firmware).filter(|kind| kind.contains('.'));
    let found = [
        ("cloud.provider", Some(cloud.provider.to_owned())),
        ("cloud.platform", cloud.platform.map(str::to_owned)),
        ("cloud.region", init.text(&["/v1/region"])),
        ("cloud.availability_zone", init.text(&["/v1/availability_zone", "/v1/availability-zone"])),
        (
            "cloud.account.id",
            init.text(&[
                "/ds/dynamic/instance-identity/document/accountId",
                "/ds/meta_data/imds/compute/subscriptionId",
            ]),
        ),
        ("host.id", id.or_else(|| init.text(&["/v1/instance_id", "/v1/instance-id"])).or_else(noted)),
        (
            "host.type",
            kind.or_else(|| {
                init.text(&[
                    "/ds/meta_data/instance-type",
                    "/ds/meta_data/instance_type",
                    "/ds/meta_data/imds/compute/vmSize",
                    "/ds/dynamic/instance-identity/document/instanceType",
                ])
            }),
        ),
        (
            "host.image.id",
            init.text(&["/ds/meta_data/ami-id", "/ds/dynamic/instance-identity/document/imageId"]),
        ),
    ];
    found.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// cloud-init's notes.
struct Init(Value);

impl Init {
    /// The first of these (RFC 6901) that says something.
    fn text(&self, pointers: &[&str]) -> Option<String> {
        pointers.iter().find_map(|pointer| {
            let text = match self.0.pointer(pointer)? {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            let says = !text.is_empty()
                && !matches!(text.as_str(), "unknown" | "none" | "None")
                && !text.starts_with("redacted");
            says.then_some(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::surroundings::tests::{found, pairs};

    fn vendor(name: &str) -> (&'static str, &str) {
        ("/sys/class/dmi/id/sys_vendor", name)
    }

    #[test]
    fn ec2_by_its_firmware_alone() {
        let files = [
            vendor("Amazon EC2\n"),
            ("/sys/class/dmi/id/product_name", "m5.large\n"),
            ("/sys/class/dmi/id/board_asset_tag", "i-0b22a22eec53b9321\n"),
        ];
        assert_eq!(
            pairs(&found(detect, &files, &[])),
            [
                ("cloud.platform", "aws_ec2"),
                ("cloud.provider", "aws"),
                ("host.id", "i-0b22a22eec53b9321"),
                ("host.type", "m5.large"),
            ]
        );
    }

    #[test]
    fn cloud_init_adds_region_zone_account_and_image() {
        let notes = r#"{"v1": {"cloud_name": "aws", "region": "eu-central-1", "availability_zone": "eu-central-1b",
              "instance_id": "i-1"},
            "ds": {"meta_data": {"ami-id": "ami-07b4f3c02c7f83d59", "instance-type": "t3.micro"},
              "dynamic": {"instance-identity": {"document": {"accountId": "111122223333"}}}}}"#;
        let files = [("/run/cloud-init/instance-data.json", notes)];
        let found = found(detect, &files, &[]);
        assert_eq!(
            pairs(&found),
            [
                ("cloud.account.id", "111122223333"),
                ("cloud.availability_zone", "eu-central-1b"),
                ("cloud.platform", "aws_ec2"),
                ("cloud.provider", "aws"),
                ("cloud.region", "eu-central-1"),
                ("host.id", "i-1"),
                ("host.image.id", "ami-07b4f3c02c7f83d59"),
                ("host.type", "t3.micro"),
            ]
        );
    }

    #[test]
    fn azure_and_google_by_their_marks_and_hyper_v_at_home_is_no_cloud() {
        let microsoft = vendor("Microsoft Corporation");
        assert!(found(detect, &[microsoft], &[]).is_empty());
        let tag = ("/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77");
        let notes = r#"{"v1": {"cloud-name": "azure", "region": "westeurope", "instance-id": "6dc6cc5e-0b51"},
            "ds": {"meta_data": {"imds": {"compute": {"vmSize": "Standard_D2s_v5", "subscriptionId": "8d10da13"}}}}}"#;
        let azure = found(detect, &[microsoft, tag, ("/run/cloud-init/instance-data.json", notes)], &[]);
        assert_eq!(azure["cloud.platform"], "azure.vm");
        assert_eq!(
            (azure["host.type"].as_str(), azure["cloud.account.id"].as_str()),
            ("Standard_D2s_v5", "8d10da13")
        );

        let google = ("/sys/class/dmi/id/product_name", "Google Compute Engine");
        let id = ("/var/lib/cloud/data/instance-id", "5104985324117");
        let notes = r#"{"v1": {"cloud_name": "gce", "availability_zone": "europe-west1-b", "region": "europe-west1"}}"#;
        let gcp = found(detect, &[google, id, ("/run/cloud-init/instance-data.json", notes)], &[]);
        assert_eq!((gcp["cloud.provider"].as_str(), gcp["host.id"].as_str()), ("gcp", "5104985324117"));
        assert_eq!(gcp["cloud.availability_zone"], "europe-west1-b");
    }

    #[test]
    fn what_is_blotted_out_or_of_another_cloud_is_not_told() {
        let notes = r#"{"v1": {"cloud_name": "aws", "region": "unknown", "availability_zone": null, "instance_id": "i-9"},
            "ds": {"dynamic": {"instance-identity": {"document": {"accountId": "redacted for non-root user"}}}}}"#;
        let file = ("/run/cloud-init/instance-data.json", notes);
        let there = found(detect, &[file], &[]);
        assert!(!there.contains_key("cloud.region") && !there.contains_key("cloud.account.id"), "{there:?}");
        let hetzner = found(detect, &[vendor("Hetzner"), file], &[]);
        assert_eq!(
            pairs(&hetzner),
            [("cloud.platform", "hetzner.cloud_server"), ("cloud.provider", "hetzner")]
        );
    }

    #[test]
    fn a_machine_of_ones_own_is_in_no_cloud() {
        let notes = r#"{"v1": {"cloud_name": "nocloud", "instance_id": "iid-local01", "region": null}}"#;
        let seed = ("/var/lib/cloud/data/instance-id", "iid-local01");
        let files = [vendor("Dell Inc."), ("/run/cloud-init/instance-data.json", notes), seed];
        assert!(found(detect, &files, &[]).is_empty());
        assert!(found(detect, &[("/run/cloud-init/instance-data.json", "{")], &[]).is_empty());
        assert!(found(detect, &[], &[]).is_empty());
    }

    #[test]
    fn every_name_is_one_of_the_conventions_shape() {
        for cloud in &CLOUDS {
            assert!(
                cloud.platform.is_none_or(|platform| platform.starts_with(cloud.provider)),
                "{}",
                cloud.provider
            );
            assert!(!cloud.firmware.is_empty() && !cloud.init.is_empty());
        }
    }
}
