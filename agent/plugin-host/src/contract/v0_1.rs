//! Contract 0.1: `wit/v0.1`.

use wasmtime::component::{
    Component, ComponentNamedList, HasSelf, Lift, Linker, Lower, types::ComponentItem,
};

mod emit;
mod records;

use crate::{
    guest::Guest,
    services::{GuestError, Level},
    wasi::{Certificate, Flaw},
};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "collector",
        imports: {
            "whimbrel:plugin/certificates.peer": async | trappable,
            default: trappable,
        },
        exports: { default: async },
    });
}

use bindings::whimbrel::plugin as wit;
pub use wit::system::{Entity, Figure};
/// The contract's records, as generated.
pub(super) use wit::types;

pub(crate) use bindings::{Collector, CollectorPre, exports::whimbrel::plugin::lifecycle::Context};

/// Makes everything that a plugin may import available to it. All of it is generated but for `emit`, whose records are
/// read where they lie.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    emit::add_to_linker(linker)?;
    wit::clock::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::secrets::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::system::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wit::certificates::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl wit::clock::Host for Guest {
    fn now_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(Guest::now_ns(self))
    }

    fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(Guest::monotonic_ns(self))
    }

    fn random(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(Guest::random(self, len)?)
    }
}

impl wit::log::Host for Guest {
    fn write(
        &mut self,
        level: wit::log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            wit::log::Level::Trace => Level::Trace,
            wit::log::Level::Debug => Level::Debug,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Warn => Level::Warn,
            wit::log::Level::Error => Level::Error,
        };
        Guest::log(self, level, message, fields);
        Ok(())
    }
}

impl wit::secrets::Host for Guest {
    fn reveal(&mut self, name: String) -> wasmtime::Result<Result<String, types::Error>> {
        Ok(Guest::reveal(self, &name).map_err(error_to_guest))
    }
}

impl wit::system::Host for Guest {
    fn snapshot(
        &mut self,
        part: String,
        select: Vec<(String, String)>,
    ) -> wasmtime::Result<Result<Vec<Entity>, types::Error>> {
        Ok(Guest::snapshot(self, &part, &select).map_err(error_to_guest))
    }
}

impl wit::certificates::Host for Guest {
    async fn peer(
        &mut self,
        origin: String,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<wit::certificates::Certificate, types::Error>> {
        let found = Guest::certificate(self, &origin, timeout_ms).await;
        Ok(found.map(certificate_to_guest).map_err(error_to_guest))
    }
}

fn certificate_to_guest(certificate: Certificate) -> wit::certificates::Certificate {
    let flaw = |(flaw, words): (Flaw, String)| {
        let flaw = match flaw {
            Flaw::Expired => wit::certificates::Flaw::Expired,
            Flaw::NotYetValid => wit::certificates::Flaw::NotYetValid,
            Flaw::WrongName => wit::certificates::Flaw::WrongName,
            Flaw::Untrusted => wit::certificates::Flaw::Untrusted,
            Flaw::Other => wit::certificates::Flaw::Other,
        };
        (flaw, words)
    };
    wit::certificates::Certificate {
        subject: certificate.subject,
        issuer: certificate.issuer,
        serial: certificate.serial,
        names: certificate.names,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint: certificate.fingerprint.to_vec(),
        flaws: certificate.flaws.into_iter().map(flaw).collect(),
    }
}

fn error_to_guest(error: GuestError) -> types::Error {
    match error {
        GuestError::Config(text) => types::Error::Config(text),
        GuestError::Denied(text) => types::Error::Denied(text),
        GuestError::Unavailable(text) => types::Error::Unavailable(text),
        GuestError::Invalid(text) => types::Error::Invalid(text),
        GuestError::TooLarge(limit) => types::Error::TooLarge(limit),
        GuestError::Transient(text) => types::Error::Transient(text),
        GuestError::Permanent(text) => types::Error::Permanent(text),
    }
}

/// A guest's error, with its text cleaned and cut.
pub(crate) fn error_from_guest(error: types::Error) -> GuestError {
    let clean = |text: String| crate::text::clean(text, crate::guest::MAX_MESSAGE);
    match error {
        types::Error::Config(text) => GuestError::Config(clean(text)),
        types::Error::Denied(text) => GuestError::Denied(clean(text)),
        types::Error::Unavailable(text) => GuestError::Unavailable(clean(text)),
        types::Error::Invalid(text) => GuestError::Invalid(clean(text)),
        types::Error::TooLarge(limit) => GuestError::TooLarge(limit),
        types::Error::Transient(text) => GuestError::Transient(clean(text)),
        types::Error::Permanent(text) => GuestError::Permanent(clean(text)),
    }
}

/// Compares the types of what a component exports; the linker has compared those of what it imports only.
pub(crate) fn check_exports(component: &Component) -> wasmtime::Result<()> {
    type Answer<T> = (Result<T, types::Error>,);
    check_export::<(Context,), Answer<()>>(component, "lifecycle", "init")?;
    check_export::<(u32,), ()>(component, "lifecycle", "shutdown")?;
    check_export::<(u32,), Answer<bool>>(component, "collect", "collect")
}

fn check_export<P, R>(component: &Component, interface: &str, function: &str) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let (engine, ty) = (component.engine(), component.component_type());
    let instance = ty.get_export(engine, &format!("whimbrel:plugin/{interface}@0.1.0"));
    let Some(ComponentItem::ComponentInstance(instance)) = instance.map(|export| export.ty) else {
        wasmtime::bail!("`{interface}` is exported, and is no interface");
    };
    let function_type = instance.get_export(engine, function);
    let Some(ComponentItem::ComponentFunc(function_type)) = function_type.map(|export| export.ty) else {
        wasmtime::bail!("`{interface}.{function}` is exported, and is no function");
    };
    function_type
        .typecheck::<P, R>(&ty.instance_type())
        .map_err(|error| error.context(format!("`{interface}.{function}` has other types")))
}
