//! The way to the host: the contract's imports in a component, the test's own host natively.

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::imports::{
    certificate, log, monotonic_ns, now_ns, push, random, reveal, snapshot,
};
#[cfg(target_family = "wasm")]
pub(crate) use component::{certificate, log, monotonic_ns, now_ns, push, random, reveal, snapshot};

/// Written for the component; compiled natively too, so that every check sees it.
#[allow(dead_code, reason = "used in a component only")]
mod component {
    use whimbrel_otlp::Signal;

    use crate::Error;
    use crate::bindings::whimbrel::plugin::{
        certificates, clock, emit, log as agent_log, secrets, system as figures, types,
    };
    use crate::certificates::{Certificate, Flaw};
    use crate::log::Level;
    use crate::system::{Attribute, Entity, Figure, Value};

    pub(crate) fn now_ns() -> u64 {
        clock::now_ns()
    }

    pub(crate) fn monotonic_ns() -> u64 {
        clock::monotonic_ns()
    }

    pub(crate) fn random(len: u32) -> Vec<u8> {
        clock::random(len)
    }

    pub(crate) fn log(level: Level, message: &str, fields: &[(&str, String)]) {
        let level = match level {
            Level::Trace => agent_log::Level::Trace,
            Level::Debug => agent_log::Level::Debug,
            Level::Info => agent_log::Level::Info,
            Level::Warn => agent_log::Level::Warn,
            Level::Error => agent_log::Level::Error,
        };
        let fields: Vec<(String, String)> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        agent_log::write(level, message, &fields);
    }

    pub(crate) fn reveal(name: &str) -> Result<String, Error> {
        secrets::reveal(name).map_err(Error::from)
    }

    pub(crate) fn snapshot(part: &str, select: &[(String, String)]) -> Result<Vec<Entity>, Error> {
        Ok(figures::snapshot(part, select)?.into_iter().map(entity).collect())
    }

    pub(crate) fn certificate(origin: &str, timeout_ms: u32) -> Result<Certificate, Error> {
        let found = certificates::peer(origin, timeout_ms)?;
        let flaw = |(flaw, words): (certificates::Flaw, String)| {
            let flaw = match flaw {
                certificates::Flaw::Expired => Flaw::Expired,
                certificates::Flaw::NotYetValid => Flaw::NotYetValid,
                certificates::Flaw::WrongName => Flaw::WrongName,
                certificates::Flaw::Untrusted => Flaw::Untrusted,
                certificates::Flaw::Other => Flaw::Other,
            };
            (flaw, words)
        };
        Ok(Certificate {
            subject: found.subject,
            issuer: found.issuer,
            serial: found.serial,
            names: found.names,
            not_before: found.not_before,
            not_after: found.not_after,
            fingerprint: found.fingerprint,
            flaws: found.flaws.into_iter().map(flaw).collect(),
        })
    }

    /// Hands a request over, and gives its buffer back: the host copies out of it.
    pub(crate) fn push(
        signal: Signal,
        bytes: Vec<u8>,
        checkpoint: Option<Vec<u8>>,
    ) -> (Vec<u8>, Result<(), Error>) {
        let signal = match signal {
            Signal::Metrics => types::Signal::Metrics,
            Signal::Logs => types::Signal::Logs,
            Signal::Traces => types::Signal::Traces,
        };
        let batch = types::Batch::Otlp((signal, bytes));
        let answer = emit::push(&batch, checkpoint.as_deref()).map_err(Error::from);
        let types::Batch::Otlp((_, bytes)) = batch else { return (Vec::new(), answer) };
        (bytes, answer)
    }

    fn entity(entity: figures::Entity) -> Entity {
        Entity {
            resource: entity.resource.into_iter().map(attribute).collect(),
            figures: entity.figures.into_iter().map(figure).collect(),
        }
    }

    fn figure(figure: figures::Figure) -> Figure {
        Figure {
            name: figure.name,
            attributes: figure.attributes.into_iter().map(attribute).collect(),
            start_ns: figure.start_ns,
            value: figure.value,
        }
    }

    fn attribute(attribute: types::Attribute) -> Attribute {
        let value = match attribute.value {
            types::Value::Text(text) => Value::Text(text),
            types::Value::Boolean(value) => Value::Boolean(value),
            types::Value::Int(value) => Value::Int(value),
            types::Value::Double(value) => Value::Double(value),
            types::Value::Bytes(bytes) => Value::Bytes(bytes),
            types::Value::Json(text) => Value::Json(text),
        };
        Attribute { key: attribute.key, value }
    }

    impl From<types::Error> for Error {
        fn from(error: types::Error) -> Self {
            match error {
                types::Error::Config(message) => Error::Config(message),
                types::Error::Denied(message) => Error::Denied(message),
                types::Error::Unavailable(message) => Error::Unavailable(message),
                types::Error::Invalid(message) => Error::Invalid(message),
                types::Error::TooLarge(limit) => Error::TooLarge(limit),
                types::Error::Transient(message) => Error::Transient(message),
                types::Error::Permanent(message) => Error::Permanent(message),
            }
        }
    }

    impl From<Error> for types::Error {
        fn from(error: Error) -> Self {
            match error {
                Error::Config(message) => types::Error::Config(message),
                Error::Denied(message) => types::Error::Denied(message),
                Error::Unavailable(message) => types::Error::Unavailable(message),
                Error::Invalid(message) => types::Error::Invalid(message),
                Error::TooLarge(limit) => types::Error::TooLarge(limit),
                Error::Transient(message) => types::Error::Transient(message),
                Error::Permanent(message) => types::Error::Permanent(message),
            }
        }
    }
}
