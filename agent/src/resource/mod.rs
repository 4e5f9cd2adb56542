//! The resource of everything this agent sends: who the host is, found once at the start.
//!
//! Names after the OpenTelemetry semantic conventions: `host.*` and `os.*`, `cloud.*` where firmware or cloud-init say
//! so, `k8s.*` and `container.*` for the agent's own container. What the configuration says wins over what is found; a
//! batch's own resource wins over both.
//!
//! Only files and variables are read, bounded; nothing is asked over the network, so that nothing here can hang, and
//! no cloud's metadata service sees a request from us. What cannot be read is not known, and left out. The host's files
//! may be mounted elsewhere (`system.root_path`), the agent's own container is always seen from within.
//!
//! Deliberately absent: `service.name`, which is the operator's to give (`resource:` or `OTEL_SERVICE_NAME`), and what
//! only a cloud's metadata service knows.

mod detect;
mod surroundings;

mod cloud;
mod container;
mod host;
mod identity;
mod kubernetes;
mod os;

pub(crate) use detect::attributes;
pub(crate) use identity::check as check_identity;
pub(crate) use surroundings::Surroundings;
