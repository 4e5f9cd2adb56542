//! `k8s.*` of the pod that the agent runs in, by what Kubernetes mounts into it and by variables that a manifest may
//! set from the downward API (`K8S_NODE_NAME`, `K8S_POD_NAME`, `K8S_POD_UID`, `K8S_NAMESPACE_NAME`,
//! `K8S_CONTAINER_NAME`).

use std::collections::BTreeMap;

use super::Surroundings;

const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The first line of the file that the kubelet writes for a pod with a network of its own.
const HOSTS_OF_A_POD: &str = "# Kubernetes-managed hosts file.";

/// Whether the agent runs in a pod.
pub(super) fn is_pod(around: &Surroundings<'_>) -> bool {
    around.variable("KUBERNETES_SERVICE_HOST").is_some() || around.own_file(NAMESPACE).is_some()
}

pub(super) fn detect(around: &Surroundings<'_>) -> BTreeMap<&'static str, String> {
    let variable = |name: &str| around.variable(name);
    let mut found = BTreeMap::new();
    found.extend(variable("K8S_NODE_NAME").map(|name| ("k8s.node.name", name)));
    found.extend(variable("K8S_CONTAINER_NAME").map(|name| ("k8s.container.name", name)));
    found.extend(variable("K8S_POD_NAME").map(|name| ("k8s.pod.name", name)));
    found.extend(variable("K8S_POD_UID").map(|uid| ("k8s.pod.uid", uid)));
    found.extend(variable("K8S_NAMESPACE_NAME").map(|name| ("k8s.namespace.name", name)));
    if !is_pod(around) {
        return found;
    }
    let mut or_else = |key, value: Option<String>| {
        if let Some(value) = value {
            found.entry(key).or_insert(value);
        }
    };
    or_else("k8s.namespace.name", around.own_file(NAMESPACE));
    or_else("k8s.pod.name", pod_name(around));
    or_else("k8s.pod.uid", pod_uid(around));
    found
}

/// A pod's host name is its name, but in the host's network it is the node's.
fn pod_name(around: &Surroundings<'_>) -> Option<String> {
    let own_network = around.own_file("/etc/hosts")?.lines().next()? == HOSTS_OF_A_POD;
    own_network.then(|| around.variable("HOSTNAME").or_else(|| around.own_file("/etc/hostname")))?
}

/// The kubelet keeps what it mounts under `pods/UID/`; the cgroup is named `podUID`, with underscores under systemd.
fn pod_uid(around: &Surroundings<'_>) -> Option<String> {
    let by_mounts = || {
        let mounts = around.own_file("/proc/self/mountinfo")?;
        mounts.lines().find_map(|line| {
            let source = line.split(' ').nth(3)?;
            let folders: Vec<_> = source.split('/').collect();
            folders.windows(2).find_map(|pair| (pair[0] == "pods").then(|| uid(pair[1])).flatten())
        })
    };
    let by_cgroup = || {
        let cgroups = around.own_file("/proc/self/cgroup")?;
        cgroups.split(['/', '\n']).find_map(|folder| {
            let name = folder.strip_suffix(".slice").unwrap_or(folder);
            uid(&name.rsplit_once("pod")?.1.replace('_', "-"))
        })
    };
    by_mounts().or_else(by_cgroup)
}

/// `8-4-4-4-12` hexadecimal digits; a static pod's is 32 of them.
fn uid(text: &str) -> Option<String> {
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    let shaped = parts == [8, 4, 4, 4, 12] || parts == [32];
    let hex = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (shaped && hex).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::surroundings::tests::{found, pairs};

    const UID: &str = "2f7a5f3e-90b7-4c5d-a0a4-53f1e8a3c6d1";
    const IN_POD: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");

    #[test]
    fn a_pod_is_known_by_what_is_mounted_into_it() {
        let mounts =
            format!("900 880 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n");
        let files = [
            (NAMESPACE, "monitoring"),
            ("/etc/hosts", "# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n"),
            ("/proc/self/mountinfo", mounts.as_str()),
        ];
        assert_eq!(
            pairs(&found(detect, &files, &[("HOSTNAME", "whimbrel-x7k2p")])),
            [("k8s.namespace.name", "monitoring"), ("k8s.pod.name", "whimbrel-x7k2p"), ("k8s.pod.uid", UID)]
        );
    }

    #[test]
    fn in_the_hosts_network_the_host_name_is_no_pods() {
        let hosts = ("/etc/hosts", "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n");
        let found = found(detect, &[(NAMESPACE, "monitoring"), hosts], &[IN_POD, ("HOSTNAME", "node-7")]);
        assert_eq!(pairs(&found), [("k8s.namespace.name", "monitoring")]);
    }

    #[test]
    fn what_the_manifest_says_wins() {
        let variables = [
            ("K8S_NODE_NAME", "node-7"),
            ("K8S_POD_NAME", "whimbrel-a"),
            ("K8S_POD_UID", UID),
            ("K8S_NAMESPACE_NAME", "ops"),
            ("K8S_CONTAINER_NAME", "agent"),
            IN_POD,
        ];
        assert_eq!(
            pairs(&found(detect, &[(NAMESPACE, "monitoring")], &variables)),
            [
                ("k8s.container.name", "agent"),
                ("k8s.namespace.name", "ops"),
                ("k8s.node.name", "node-7"),
                ("k8s.pod.name", "whimbrel-a"),
                ("k8s.pod.uid", UID),
            ]
        );
        let empty = found(detect, &[], &[("K8S_NODE_NAME", "")]);
        assert!(empty.is_empty(), "an empty variable is not set");
    }

    #[test]
    fn the_cgroup_names_the_pod_in_either_spelling() {
        let underscored = UID.replace('-', "_");
        for path in [
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/x.scope"
            ),
            format!("3:cpu:/kubepods/besteffort/pod{UID}/abc"),
        ] {
            let found = found(detect, &[("/proc/self/cgroup", path.as_str())], &[IN_POD]);
            assert_eq!(pairs(&found), [("k8s.pod.uid", UID)], "{path}");
        }
    }

    #[test]
    fn a_host_is_no_pod() {
        let mounts = format!("900 880 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /x rw - ext4 /dev/sda1 rw\n");
        let files = [("/proc/self/mountinfo", mounts.as_str()), ("/etc/hosts", "127.0.0.1 localhost")];
        assert!(found(detect, &files, &[("HOSTNAME", "db-1")]).is_empty());
    }
}
