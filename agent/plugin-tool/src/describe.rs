//! Reads what a component says about itself: metadata, imports, exports, the schema of its configuration.

use sha2::{Digest as _, Sha256};
use wasmparser::{BinaryReader, BinaryReaderError, CustomSectionReader, KnownCustom, Parser, Payload};
use whimbrel_plugin_host::{
    Description, Identity, Interface, Refusal,
    description::CONFIG_SCHEMA_SECTION,
    sniff,
    text::{clean, hex},
};
use wit_parser::{Resolve, WorldItem, decoding::DecodedWasm};

/// The longest text of the metadata that is kept, in bytes.
const MAX_TEXT: usize = 4 << 10;
/// The most entries of the producers' sections that are kept.
const MAX_PRODUCERS: usize = 32;
/// The largest schema of a configuration, in bytes.
const MAX_SCHEMA: usize = 1 << 20;

/// All that can be known of a component without running it.
///
/// # Errors
/// It is no component, it is damaged, or it speaks of itself in a way that can't be read.
pub(crate) fn describe(bytes: &[u8]) -> Result<Description, Refusal> {
    sniff::check(bytes)?;
    whole(bytes)?;
    let sections = Sections::read(bytes)?;
    let (resolve, world) = match wit_parser::decoding::decode(bytes) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => {
            return Err(Refusal::NotWasm {
                found: "a WIT package in binary form".to_owned(),
                remedy: Some("give the component that was built against it".to_owned()),
            });
        }
        Err(error) => return Err(Refusal::Invalid { detail: cause(&error) }),
    };
    let world = &resolve.worlds[world];
    Ok(Description {
        identity: sections.identity,
        imports: interfaces(&resolve, &world.imports),
        exports: interfaces(&resolve, &world.exports),
        config_schema: sections.config_schema,
        sha256: hex(&Sha256::digest(bytes)),
        size: bytes.len() as u64,
    })
}

/// Whether each section is there to its end: what is cut off within one may decode nevertheless, as less than it was.
fn whole(bytes: &[u8]) -> Result<(), Refusal> {
    let damaged = |error: BinaryReaderError| Refusal::Invalid { detail: clean(error.to_string(), MAX_TEXT) };
    let mut reader = BinaryReader::new(bytes, 0);
    // Magic number and version.
    reader.read_bytes(8).map_err(damaged)?;
    while !reader.eof() {
        reader.read_u8().map_err(damaged)?;
        let length = reader.read_var_u32().map_err(damaged)?;
        reader.read_bytes(length as usize).map_err(damaged)?;
    }
    Ok(())
}

fn interfaces<'a>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = (&'a wit_parser::WorldKey, &'a WorldItem)>,
) -> Vec<Interface> {
    let interface = |(key, item): (&wit_parser::WorldKey, &WorldItem)| {
        let name = clean(resolve.name_world_key(key), MAX_TEXT);
        match item {
            WorldItem::Interface { id, .. } => {
                let functions = resolve.interfaces[*id].functions.keys();
                Some(Interface { name, functions: functions.map(|f| clean(f.clone(), MAX_TEXT)).collect() })
            }
            WorldItem::Function(_) => Some(Interface { name, functions: Vec::new() }),
            // Types cost nothing and ask for nothing.
            WorldItem::Type { .. } => None,
        }
    };
    items.into_iter().filter_map(interface).collect()
}

/// The innermost cause is what the parser says; the rest is how this program came upon it.
fn cause(error: &anyhow::Error) -> String {
    clean(error.root_cause().to_string(), MAX_TEXT)
}

/// The custom sections of interest. Those of the component itself speak for it; of the modules within, only
/// the tools that made them are of interest.
#[derive(Default)]
struct Sections {
    identity: Identity,
    config_schema: Option<serde_json::Value>,
}

impl Sections {
    fn read(bytes: &[u8]) -> Result<Sections, Refusal> {
        let mut sections = Sections::default();
        let mut depth = 0usize;
        let invalid =
            |error: BinaryReaderError| Refusal::Invalid { detail: clean(error.to_string(), MAX_TEXT) };
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) => sections.take(&section, depth == 0)?,
                _ => {}
            }
        }
        Ok(sections)
    }

    fn take(&mut self, section: &CustomSectionReader<'_>, own: bool) -> Result<(), Refusal> {
        let text = || Some(clean(String::from_utf8_lossy(section.data()).into_owned(), MAX_TEXT));
        let identity = &mut self.identity;
        match section.name() {
            "producers" => self.producers(section),
            "component-name" if own => {
                if let Some(name) = component_name(section) {
                    identity.name = Some(clean(name, MAX_TEXT));
                }
            }
            "version" if own => identity.version = text(),
            "description" if own => identity.description = text(),
            "authors" if own => identity.authors = text(),
            "licenses" if own => identity.licenses = text(),
            "source" if own => identity.source = text(),
            "homepage" if own => identity.homepage = text(),
            "revision" if own => identity.revision = text(),
            CONFIG_SCHEMA_SECTION if own => self.config_schema = Some(schema(section.data())?),
            _ => {}
        }
        Ok(())
    }

    /// A section that can't be read says nothing; it is for people, not for the host.
    fn producers(&mut self, section: &CustomSectionReader<'_>) {
        let KnownCustom::Producers(fields) = section.as_known() else { return };
        for value in fields.into_iter().flatten().flat_map(|field| field.values).flatten() {
            let made_with = clean(format!("{} {}", value.name, value.version).trim().to_owned(), 256);
            let known = &mut self.identity.made_with;
            if known.len() < MAX_PRODUCERS && !known.contains(&made_with) {
                known.push(made_with);
            }
        }
    }
}

fn component_name(section: &CustomSectionReader<'_>) -> Option<String> {
    let KnownCustom::ComponentName(names) = section.as_known() else { return None };
    names.into_iter().flatten().find_map(|name| match name {
        wasmparser::ComponentName::Component { name, .. } => Some(name.to_owned()),
        _ => None,
    })
}

/// The schema of a configuration, from the bytes of its section or its file.
pub(crate) fn schema(bytes: &[u8]) -> Result<serde_json::Value, Refusal> {
    let refused = |detail: String| Refusal::Schema { detail };
    if bytes.len() > MAX_SCHEMA {
        return Err(refused(format!("it has {} bytes, at most {MAX_SCHEMA} are taken", bytes.len())));
    }
    match serde_json::from_slice(bytes) {
        Ok(schema @ serde_json::Value::Object(_)) => Ok(schema),
        Ok(_) => Err(refused("it is some other JSON value".to_owned())),
        Err(error) => Err(refused(error.to_string())),
    }
}
