//! Applies the JSON Schema that a component carries to the configuration that it is to be given.
//!
//! The schema is a stranger's, and this runs in the agent: so it is done here, within a budget of steps. With `$ref` and
//! `allOf`, forty lines of schema can ask for more steps than there are seconds left of the universe, and libraries take
//! them; `pattern` can do the same to most engines. What is over the budget is not applied, and that is said; the plugin
//! checks for itself at `init` in any case.
//!
//! Understood (JSON Schema 2020-12, core and validation): `type`, `enum`, `const`, numbers' and lengths' bounds, `items`,
//! `prefixItems`, `uniqueItems`, `properties`, `required`, `additionalProperties`, `allOf`, `anyOf`, `oneOf`, `not`, `if`,
//! and `$ref` within the schema. Other keywords (`pattern`, `patternProperties`, `contains`, ...) refuse nothing: what is
//! refused here is refused by the schema, and not everything that it refuses is refused here.
//!
//! Messages quote the schema, never the configuration, which may hold secrets.

use serde_json::{Map, Value};

use crate::text::clean;

/// Schemas and values that are looked at, at most.
const MOST_STEPS: u32 = 100_000;
/// Schemas within each other, at most; also what ends a `$ref` that leads to itself.
const DEEPEST: u32 = 64;
/// Violations that are told, at most.
const MOST_TOLD: usize = 20;
/// Of what a schema allows, so much is quoted: bytes, and keys.
const QUOTED: usize = 200;
const QUOTED_KEYS: usize = 20;

/// One thing that the schema refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where in the configuration: keys, and indices of lists from 0. Empty: the whole.
    pub path: Vec<String>,
    /// Goes on from the key: `is not a boolean`.
    pub what: String,
}

/// The schema takes more steps than may be spent on it, or leads in circles: it was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the schema of its configuration takes too many steps to apply, and was not applied")]
pub struct TooCostly;

/// What the schema refuses about this configuration; nothing where it fits, or where it can't be known.
///
/// # Errors
/// [`TooCostly`].
pub fn violations(schema: &Value, config: &Value) -> Result<Vec<Violation>, TooCostly> {
    let mut check = Check { root: schema, steps: MOST_STEPS, depth: 0, path: Vec::new() };
    let mut found = check.apply(schema, config)?.violations;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found.truncate(MOST_TOLD);
    Ok(found)
}

/// What is wrong with a schema itself: `type: objct`, a `required` that is no list. For whoever makes a component; what
/// an agent is given is applied as far as it goes.
///
/// # Errors
/// [`TooCostly`]: it is nested too deeply to be looked at.
pub fn flaws(schema: &Value) -> Result<Vec<Violation>, TooCostly> {
    let meta = serde_json::from_str(META).expect("a test reads it");
    violations(&meta, schema)
}

/// What a schema is, as a schema.
const META: &str = include_str!("schema/meta.json");

struct Check<'s> {
    root: &'s Value,
    steps: u32,
    depth: u32,
    path: Vec<String>,
}

/// What applying one schema to one value came to.
#[derive(Default)]
struct Outcome {
    violations: Vec<Violation>,
    /// It holds keywords that are not understood here: that nothing was found does not mean that it fits.
    unsure: bool,
}

impl Outcome {
    fn fits_surely(&self) -> bool {
        self.violations.is_empty() && !self.unsure
    }

    fn add(&mut self, other: Outcome) {
        // More than is told only costs.
        let room = MOST_TOLD.saturating_sub(self.violations.len());
        self.violations.extend(other.violations.into_iter().take(room));
        self.unsure |= other.unsure;
    }
}

impl<'s> Check<'s> {
    fn apply(&mut self, schema: &'s Value, value: &Value) -> Result<Outcome, TooCostly> {
        self.spend(1)?;
        if self.depth == DEEPEST {
            return Err(TooCostly);
        }
        self.depth += 1;
        let outcome = match schema {
            Value::Object(keywords) => self.keywords(keywords, value),
            Value::Bool(false) => Ok(self.refuse("is not allowed here")),
            // `true` allows everything, and what is no schema says nothing.
            _ => Ok(Outcome::default()),
        };
        self.depth -= 1;
        outcome
    }

    fn keywords(&mut self, keywords: &'s Map<String, Value>, value: &Value) -> Result<Outcome, TooCostly> {
        let mut all = Outcome::default();
        for (keyword, rule) in keywords {
            self.spend(1)?;
            let one = match (keyword.as_str(), rule, value) {
                ("$ref", Value::String(to), _) => match self.resolve(to) {
                    Some(schema) => self.apply(schema, value)?,
                    None => unsure(),
                },
                ("type", rule, _) => self.types(rule, value),
                ("enum", Value::Array(allowed), _) => {
                    self.spend(allowed.len())?;
                    self.refuse_unless(allowed.iter().any(|one| equal(one, value)), || {
                        format!("is none of {}", quote_all(allowed))
                    })
                }
                ("const", allowed, _) => {
                    self.refuse_unless(equal(allowed, value), || format!("is not {}", quote(allowed)))
                }
                ("properties", Value::Object(known), Value::Object(entries)) => {
                    let mut found = Outcome::default();
                    for (key, value) in entries {
                        if let Some(schema) = known.get(key) {
                            found.add(self.within(key, schema, value)?);
                        }
                    }
                    found
                }
                ("required", Value::Array(needed), Value::Object(entries)) => {
                    self.spend(needed.len())?;
                    let missing =
                        needed.iter().filter_map(Value::as_str).filter(|key| !entries.contains_key(*key));
                    let missing: Vec<_> =
                        missing.take(MOST_TOLD).map(|key| clean(key.to_owned(), QUOTED)).collect();
                    self.refuse_unless(missing.is_empty(), || format!("lacks `{}`", missing.join("`, `")))
                }
                ("additionalProperties", rule, Value::Object(entries)) => {
                    self.others(keywords, rule, entries)?
                }
                ("items" | "prefixItems", rule, Value::Array(items)) => {
                    self.items(keyword, keywords, rule, items)?
                }
                ("uniqueItems", Value::Bool(true), Value::Array(items)) => {
                    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
                    texts.sort_unstable();
                    let unique = texts.windows(2).all(|pair| pair[0] != pair[1]);
                    self.refuse_unless(unique, || "holds the same twice".to_owned())
                }
                ("allOf", Value::Array(schemas), _) => {
                    let mut found = Outcome::default();
                    for schema in schemas {
                        found.add(self.apply(schema, value)?);
                    }
                    found
                }
                ("anyOf" | "oneOf", Value::Array(schemas), _) => {
                    self.some_of(schemas, value, keyword == "oneOf")?
                }
                ("not", schema, _) => {
                    let found = self.apply(schema, value)?;
                    match found.violations.is_empty() {
                        true if found.unsure => unsure(),
                        fits => self.refuse_unless(!fits, || "is what its schema excludes".to_owned()),
                    }
                }
                ("if", schema, _) => {
                    let found = self.apply(schema, value)?;
                    let next = match found.violations.is_empty() {
                        true if found.unsure => None,
                        true => keywords.get("then"),
                        false => keywords.get("else"),
                    };
                    let mut outcome = match next {
                        Some(schema) => self.apply(schema, value)?,
                        None => Outcome::default(),
                    };
                    outcome.unsure |= found.unsure;
                    outcome
                }
                (keyword, rule, value) => match bounds::refuses(keyword, rule, value) {
                    Some(what) => self.refuse(&what),
                    None if bounds::is_bound(keyword) || says_nothing(keyword) => Outcome::default(),
                    None => unsure(),
                },
            };
            all.add(one);
        }
        Ok(all)
    }

    /// `additionalProperties`: of the keys that `properties` does not name.
    fn others(
        &mut self,
        keywords: &'s Map<String, Value>,
        rule: &'s Value,
        entries: &Map<String, Value>,
    ) -> Result<Outcome, TooCostly> {
        if keywords.contains_key("patternProperties") {
            return Ok(unsure());
        }
        let known = keywords.get("properties").and_then(Value::as_object);
        let mut found = Outcome::default();
        for (key, value) in entries {
            if known.is_some_and(|known| known.contains_key(key)) {
                continue;
            }
            if *rule == Value::Bool(false) {
                self.path.push(key.clone());
                found.add(self.refuse(&unknown(known)));
                self.path.pop();
            } else {
                found.add(self.within(key, rule, value)?);
            }
        }
        Ok(found)
    }

    /// `prefixItems` and `items`; before 2020-12, a list of schemas stood in `items`.
    fn items(
        &mut self,
        keyword: &str,
        keywords: &'s Map<String, Value>,
        rule: &'s Value,
        items: &[Value],
    ) -> Result<Outcome, TooCostly> {
        let mut found = Outcome::default();
        let prefix = keywords.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
        for (index, item) in items.iter().enumerate() {
            let schema = match rule {
                Value::Array(schemas) => schemas.get(index),
                one if keyword == "items" && index >= prefix => Some(one),
                _ => None,
            };
            if let Some(schema) = schema {
                found.add(self.within(&index.to_string(), schema, item)?);
            }
        }
        Ok(found)
    }

    /// `anyOf` and `oneOf`. Where only one of them came further into the value than to its type, that one was meant.
    fn some_of(&mut self, schemas: &'s [Value], value: &Value, one: bool) -> Result<Outcome, TooCostly> {
        let (mut fitting, mut surely, mut unsure) = (0, 0, false);
        let mut nearest: Vec<Outcome> = Vec::new();
        for schema in schemas {
            let found = self.apply(schema, value)?;
            unsure |= found.unsure;
            surely += u32::from(found.fits_surely());
            if found.violations.is_empty() {
                fitting += 1;
            } else if found.violations.iter().all(|one| one.path.len() > self.path.len()) {
                nearest.push(found);
            }
        }
        if fitting == 0 && nearest.len() == 1 {
            return Ok(nearest.remove(0));
        }
        let mut outcome =
            self.refuse_unless(fitting > 0, || "has none of the forms that its schema allows".to_owned());
        outcome.add(self.refuse_unless(!one || surely < 2, || {
            "has more than one of the forms of which it must have one".to_owned()
        }));
        outcome.unsure |= unsure;
        Ok(outcome)
    }

    fn types(&self, rule: &Value, value: &Value) -> Outcome {
        let names: Vec<&str> = match rule {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return unsure(),
        };
        self.refuse_unless(names.iter().any(|name| is_of(name, value)), || {
            let words: Vec<_> = names.iter().map(|name| in_words(name)).collect();
            format!("is not {}", words.join(" or "))
        })
    }

    fn within(&mut self, key: &str, schema: &'s Value, value: &Value) -> Result<Outcome, TooCostly> {
        self.path.push(key.to_owned());
        let outcome = self.apply(schema, value);
        self.path.pop();
        outcome
    }

    /// What a `$ref` leads to, within the schema: `#`, `#/$defs/x`. Others are not followed.
    fn resolve(&self, to: &str) -> Option<&'s Value> {
        let pointer = to.strip_prefix('#')?;
        (pointer.is_empty() || pointer.starts_with('/')).then(|| self.root.pointer(pointer)).flatten()
    }

    fn spend(&mut self, steps: usize) -> Result<(), TooCostly> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.steps = self.steps.checked_sub(steps).ok_or(TooCostly)?;
        Ok(())
    }

    fn refuse(&self, what: &str) -> Outcome {
        let violation = Violation { path: self.path.clone(), what: what.to_owned() };
        Outcome { violations: vec![violation], unsure: false }
    }

    fn refuse_unless(&self, fits: bool, what: impl FnOnce() -> String) -> Outcome {
        if fits { Outcome::default() } else { self.refuse(&what()) }
    }
}

fn unsure() -> Outcome {
    Outcome { violations: Vec::new(), unsure: true }
}

/// Keywords that refuse nothing by themselves; `then`, `else` belong to `if`.
fn says_nothing(keyword: &str) -> bool {
    const ANNOTATIONS: [&str; 19] = [
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
        "$anchor",
        "$vocabulary",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "format",
        "contentMediaType",
        "then",
        "else",
        "contentEncoding",
    ];
    ANNOTATIONS.contains(&keyword) || keyword.starts_with("x-")
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0),
        // A type that does not exist refuses nothing.
        _ => true,
    }
}

fn in_words(name: &str) -> &'static str {
    match name {
        "null" => "null",
        "boolean" => "`true` or `false`",
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "number" => "a number",
        _ => "a whole number",
    }
}

/// Numbers are equal by value: 1 and 1.0.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => one == other,
    }
}

fn unknown(known: Option<&Map<String, Value>>) -> String {
    let Some(known) = known.filter(|known| !known.is_empty()) else {
        return "is not a key of this".to_owned();
    };
    let keys: Vec<_> = known.keys().take(QUOTED_KEYS).map(|key| clean(key.clone(), QUOTED)).collect();
    let more = if known.len() > QUOTED_KEYS { ", ..." } else { "" };
    format!("is not a key here; there are: {}{more}", keys.join(", "))
}

fn quote(value: &Value) -> String {
    clean(value.to_string(), QUOTED)
}

fn quote_all(values: &[Value]) -> String {
    let all: Vec<_> = values.iter().take(QUOTED_KEYS).map(quote).collect();
    let more = if values.len() > QUOTED_KEYS { ", ..." } else { "" };
    format!("{}{more}", all.join(", "))
}

mod bounds;

#[cfg(test)]
mod tests;
