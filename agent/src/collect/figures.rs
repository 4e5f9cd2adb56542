//! The host's figures as the contract's entities.

use whimbrel_plugin_host::services as guest;

use crate::system;

/// What `snapshot` answers a guest.
///
/// # Errors
/// `invalid` for a part that does not exist or a selection that it does not know, which will not get better;
/// `unavailable`, with what the host's figures lack, for the rest.
pub(super) fn snapshot(
    system: &system::System,
    part: &str,
    select: &[(String, String)],
) -> Result<Vec<guest::Entity>, guest::GuestError> {
    system.snapshot(part, select).map(entities).map_err(|error| {
        let why = error.to_string();
        if error.is_unavailable() {
            guest::GuestError::Unavailable(why)
        } else {
            guest::GuestError::Invalid(why)
        }
    })
}

/// The host's figures as the contract has them.
fn entities(entities: Vec<system::Entity>) -> Vec<guest::Entity> {
    entities
        .into_iter()
        .map(|entity| guest::Entity {
            resource: pairs(entity.resource),
            figures: entity
                .figures
                .into_iter()
                .map(|figure| guest::Figure {
                    name: figure.name.to_owned(),
                    attributes: pairs(figure.attributes),
                    start_ns: figure.start_ns,
                    value: figure.value,
                })
                .collect(),
        })
        .collect()
}

fn pairs(attributes: Vec<(&'static str, system::Value)>) -> Vec<guest::Attribute> {
    attributes
        .into_iter()
        .map(|(key, value)| guest::Attribute {
            key: key.to_owned(),
            value: match value {
                system::Value::Text(text) => guest::Value::Text(text.into_owned()),
                system::Value::Int(number) => guest::Value::Int(number),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_exist_is_invalid_and_not_worth_waiting_for() {
        let error = snapshot(&system::System::default(), "moon", &[]).unwrap_err();
        assert!(matches!(error, guest::GuestError::Invalid(_)), "{error}");
        assert!(error.to_string().contains("moon") && error.to_string().contains("memory"), "{error}");
    }
}
