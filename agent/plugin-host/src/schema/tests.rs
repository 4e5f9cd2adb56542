//! What is refused, where, in which words; and that no schema can hold the agent up.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

fn told(schema: &Value, config: &Value) -> Vec<String> {
    let found = violations(schema, config).unwrap();
    found.iter().map(|one| format!("{}: {}", one.path.join("."), one.what)).collect()
}

#[test]
fn each_keyword_refuses_what_it_is_for_and_nothing_else() {
    for (schema, fits, refused) in [
        (json!({"type": "boolean"}), json!(true), json!("true")),
        (json!({"type": ["object", "null"]}), json!(null), json!([])),
        (json!({"type": "integer"}), json!(3.0), json!(3.5)),
        (json!({"type": "number"}), json!(3.5), json!("3")),
        (json!({"enum": ["a", 1]}), json!(1.0), json!("b")),
        (json!({"const": {"a": 1}}), json!({"a": 1}), json!({"a": 2})),
        (json!({"minimum": 1}), json!(1), json!(0)),
        (json!({"maximum": 1.5}), json!(1.5), json!(2)),
        (json!({"exclusiveMinimum": 1}), json!(1.1), json!(1)),
        (json!({"exclusiveMaximum": 1}), json!("text"), json!(1)),
        (json!({"multipleOf": 5}), json!(10), json!(11)),
        (json!({"minLength": 2}), json!("\u{e4}\u{e4}"), json!("\u{e4}")),
        (json!({"maxLength": 2}), json!("\u{e4}\u{e4}"), json!("abc")),
        (json!({"minItems": 1}), json!([1]), json!([])),
        (json!({"maxItems": 1}), json!({}), json!([1, 2])),
        (json!({"uniqueItems": true}), json!([1, 2]), json!([{"a": 1}, 2, {"a": 1}])),
        (json!({"minProperties": 1}), json!({"a": 1}), json!({})),
        (json!({"maxProperties": 0}), json!([]), json!({"a": 1})),
        (json!({"required": ["a"]}), json!({"a": null}), json!({"b": 1})),
        (json!({"properties": {"a": {"type": "string"}}}), json!({"b": 1}), json!({"a": 1})),
        (json!({"properties": {"a": true}, "additionalProperties": false}), json!({"a": 1}), json!({"b": 1})),
        (json!({"additionalProperties": {"type": "null"}}), json!({"a": null}), json!({"a": 1})),
        (json!({"items": {"type": "string"}}), json!(["a"]), json!(["a", 1])),
        (json!({"prefixItems": [true], "items": {"type": "null"}}), json!([1, null]), json!([1, 1])),
        (json!({"items": [{"type": "string"}]}), json!(["a", 1]), json!([1])),
        (json!({"allOf": [{"type": "number"}, {"minimum": 3}]}), json!(3), json!(2)),
        (json!({"anyOf": [{"type": "number"}, {"type": "null"}]}), json!(null), json!("a")),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 3}]}), json!(0), json!(2)),
        (json!({"not": {"type": "null"}}), json!(1), json!(null)),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"minimum": 1}}),
            json!("a"),
            json!(""),
        ),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"minimum": 1}}),
            json!(1),
            json!(0),
        ),
        (json!({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}), json!(null), json!(1)),
        (json!(true), json!(1), json!({"never": 1})),
    ] {
        assert_eq!(told(&schema, &fits), [""; 0], "{schema} {fits}");
        if schema != json!(true) {
            assert_eq!(told(&schema, &refused).len(), 1, "{schema} {refused}");
        }
    }
    assert_eq!(told(&json!(false), &json!(1)), [": is not allowed here"]);
}

#[test]
fn the_key_is_named_and_the_value_never_quoted() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["url"],
        "properties": {
            "url": {"type": "string"},
            "targets": {"items": {"$ref": "#/$defs/target"}},
            "by": {"enum": ["cpu", "memory"]},
        },
        "$defs": {"target": {"properties": {"port": {"type": "integer", "maximum": 65535}}}},
    });
    let config = json!({"by": "sesame", "targets": [{"port": 1}, {"port": 70000}], "token": "sesame"});
    assert_eq!(
        told(&schema, &config),
        [
            ": lacks `url`",
            "by: is none of \"cpu\", \"memory\"",
            "targets.1.port: is more than 65535",
            "token: is not a key here; there are: by, targets, url",
        ]
    );
}

#[test]
fn of_several_forms_the_one_that_was_meant_is_named() {
    let schema =
        json!({"anyOf": [{"type": "null"}, {"type": "object", "properties": {"top": {"minimum": 1}}}]});
    assert_eq!(told(&schema, &json!({"top": 0})), ["top: is less than 1"]);
    assert_eq!(told(&schema, &json!(3)), [": has none of the forms that its schema allows"]);
}

#[test]
fn what_is_not_understood_refuses_nothing_also_within_not_and_one_of() {
    let unknown = json!({"pattern": "^a", "frobnicate": 1});
    for schema in [
        unknown.clone(),
        json!({"not": unknown}),
        json!({"oneOf": [unknown, unknown]}),
        json!({"if": unknown, "then": false}),
        json!({"$ref": "https://example.com/schema"}),
        json!({"$ref": "#nowhere"}),
        json!({"patternProperties": {"^b": true}, "additionalProperties": false}),
        json!({"type": "frob"}),
        json!({"minimum": "a", "properties": 3, "required": {}, "enum": 1, "allOf": {}}),
    ] {
        assert_eq!(told(&schema, &json!({"b": "b"})), [""; 0], "{schema}");
        assert_eq!(told(&schema, &json!("b")), [""; 0], "{schema}");
    }
}

#[test]
fn no_schema_takes_longer_than_its_budget() {
    let circle =
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#"}}});
    // Each of forty names the next one twice.
    let mut defs = Map::new();
    for n in 0..40 {
        let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
        defs.insert(n.to_string(), json!({"allOf": [next, next]}));
    }
    let bomb = json!({"$ref": "#/$defs/0", "$defs": defs});
    let long = json!({"items": {"enum": (0..5000).collect::<Vec<_>>()}});
    let items = json!((0..5000).map(|n| n + 10_000).collect::<Vec<_>>());
    for (schema, config) in [(circle, json!(1)), (bomb, json!(1)), (long, items)] {
        let since = Instant::now();
        assert_eq!(violations(&schema, &config), Err(TooCostly));
        assert!(since.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_shipped_schema_refuses_what_its_plugin_does() {
    let schema = serde_json::from_str(include_str!("../../../../plugins/host/config.schema.json")).unwrap();
    assert_eq!(told(&schema, &json!({})), [""; 0]);
    let good =
        json!({"per_cpu": true, "disk": {"exclude": ["loop*"]}, "processes": {"top": 5, "by": "memory"}});
    assert_eq!(told(&schema, &good), [""; 0]);
    let bad = json!({"per_cpu": "yes", "disk": {"exclude": [""]}, "processes": {"top": 0}});
    assert_eq!(
        told(&schema, &bad),
        [
            "disk.exclude.0: is shorter, in characters, than 1",
            "per_cpu: is not `true` or `false`",
            "processes.top: is less than 1",
        ]
    );
}

#[test]
fn what_is_wrong_with_a_schema_is_found_at_its_place() {
    let flaws = |schema: Value| -> Vec<String> {
        let found = super::flaws(&schema).unwrap();
        found.iter().map(|one| format!("{}: {}", one.path.join("."), one.what)).collect()
    };
    for (schema, path) in [
        (json!({"type": "objct"}), "type: is none of"),
        (json!({"type": ["string", "nul"]}), "type.1: is none of"),
        (json!({"properties": {"a": {"items": {"type": "text"}}}}), "properties.a.items.type: is none of"),
        (json!({"required": "a"}), "required: is not a list"),
        (json!({"$defs": {"a": {"enum": "b"}}}), "$defs.a.enum: is not a list"),
        (json!({"anyOf": [{"minimum": "1"}]}), "anyOf.0.minimum: is not a number"),
        (json!([]), ": is not"),
    ] {
        let found = flaws(schema.clone());
        assert!(found.len() == 1 && found[0].starts_with(path), "{schema}: {found:?}");
    }
    assert_eq!(flaws(serde_json::from_str(META).unwrap()), Vec::<String>::new(), "it is one itself");
    let other = json!({"type": "object", "x-order": 3, "default": {}, "contains": true, "items": [{}, true]});
    assert_eq!(flaws(other), Vec::<String>::new());
}
