//! `container.id` of the container that the agent runs in.
//!
//! From the agent's own cgroup where the container sees the host's names of it (cgroup v1, or the host's cgroup
//! namespace), else from where Docker and Podman keep the files that they mount over `/etc/hostname`. containerd and
//! CRI-O mount those of the pod's sandbox, whose id is not the container's: there nothing is told.

use std::collections::BTreeMap;

use super::{Surroundings, kubernetes};

pub(super) fn detect(around: &Surroundings<'_>) -> BTreeMap<&'static str, String> {
    let by_cgroup = || around.own_file("/proc/self/cgroup").and_then(|text| in_cgroup(&text));
    let by_mounts = || {
        let in_pod = kubernetes::is_pod(around);
        around.own_file("/proc/self/mountinfo").filter(|_| !in_pod).and_then(|text| in_mounts(&text))
    };
    by_cgroup().or_else(by_mounts).map(|id| ("container.id", id)).into_iter().collect()
}

/// `12:pids:/docker/ID`, `0::/kubepods.slice/.../cri-containerd-ID.scope`.
fn in_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        let last = last.strip_suffix(".scope").unwrap_or(last);
        id(last.rsplit(['-', ':']).next()?)
    })
}

/// mountinfo(5): the fourth field is the folder within the file system that is mounted at the fifth.
fn in_mounts(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, point) = (fields.next()?, fields.next()?);
        if !matches!(point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let folders: Vec<_> = source.split('/').collect();
        folders.windows(2).find_map(|pair| {
            matches!(pair[0], "containers" | "overlay-containers").then(|| id(pair[1])).flatten()
        })
    })
}

fn id(text: &str) -> Option<String> {
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == 64 && hex).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::surroundings::tests::found;

    const ID: &str = "dc579f8a8319c8cf7d38e1adf263bc08d23d4b6c1d4b6c1d4b6c1d4b6c1d4b6c";

    fn container(file: &str, text: &str) -> Option<String> {
        found(detect, &[(file, text)], &[]).remove("container.id")
    }

    #[test]
    fn the_id_stands_at_the_end_of_the_cgroup() {
        for line in [
            format!("12:pids:/docker/{ID}"),
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("1:name=systemd:/kubepods/burstable/pod5a/{ID}"),
            format!("0::/kubepods.slice/kubepods-pod5a.slice/cri-containerd-{ID}.scope"),
            format!("4:cpu:/kubepods-besteffort-pod5a.slice:cri-containerd:{ID}"),
            format!("0::/machine.slice/libpod-{ID}.scope"),
        ] {
            let text = format!("13:odd\n{line}\n");
            assert_eq!(container("/proc/self/cgroup", &text).as_deref(), Some(ID), "{line}");
        }
    }

    #[test]
    fn a_service_or_a_session_of_the_host_is_no_container() {
        for line in
            ["0::/system.slice/whimbrel.service", "0::/", "0::/user.slice/user-1000.slice/session-3.scope"]
        {
            assert_eq!(container("/proc/self/cgroup", line), None, "{line}");
        }
    }

    #[test]
    fn docker_and_podman_are_known_by_their_mounts_and_a_sandbox_is_no_container() {
        let mounts = |source: &str, point: &str| {
            format!(
                "22 21 0:20 / /proc rw - proc proc rw\n640 620 8:1 {source} {point} rw,relatime - ext4 /dev/sda1 rw\n"
            )
        };
        let docker = mounts(&format!("/var/lib/docker/containers/{ID}/hostname"), "/etc/hostname");
        assert_eq!(container("/proc/self/mountinfo", &docker).as_deref(), Some(ID));
        let podman =
            mounts(&format!("/containers/storage/overlay-containers/{ID}/userdata/hosts"), "/etc/hosts");
        assert_eq!(container("/proc/self/mountinfo", &podman).as_deref(), Some(ID));
        let sandbox = mounts(
            &format!("/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname"),
            "/etc/hostname",
        );
        assert_eq!(container("/proc/self/mountinfo", &sandbox), None);
        let other = mounts(&format!("/var/lib/docker/containers/{ID}/x"), "/mnt/another");
        assert_eq!(container("/proc/self/mountinfo", &other), None, "another container's folder");
        let cri_o =
            found(detect, &[("/proc/self/mountinfo", &podman)], &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
        assert!(cri_o.is_empty(), "there it is the sandbox's");
    }
}
