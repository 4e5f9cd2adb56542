//! The macros: one that makes a component of a collector, and one for each level of the log.

/// Makes a component of a type that implements [`Collector`](crate::Collector). Once in a crate.
///
/// `name` and `description` say who the plugin is, `config_schema` (optional) is a JSON Schema of its
/// configuration, usually `include_str!("../config.schema.json")`. Version, authors, licence and source come from
/// `Cargo.toml`.
///
/// In the core module these become custom sections: `version`, `description`, `authors`, `licenses`, `source` and
/// `revision` as the standard names them, and `whimbrel:name` and `whimbrel:config-schema`.
#[macro_export]
macro_rules! collector {
    ($collector:ty { name: $name:expr, description: $description:expr $(, config_schema: $schema:expr)? $(,)? }) => {
        impl $crate::Described for $collector {
            const PLUGIN: $crate::Plugin = $crate::Plugin {
                name: $name,
                version: env!("CARGO_PKG_VERSION"),
                description: $description,
                config_schema: $crate::__first!($($schema,)? ""),
            };
        }

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::export::section;

            $crate::__section!("whimbrel:name", $name);
            $crate::__section!("description", $description);
            $crate::__section!("version", env!("CARGO_PKG_VERSION"));
            $crate::__section!("authors", env!("CARGO_PKG_AUTHORS"));
            $crate::__section!("licenses", env!("CARGO_PKG_LICENSE"));
            $crate::__section!("source", env!("CARGO_PKG_REPOSITORY"));
            $($crate::__section!("whimbrel:config-schema", $schema);)?

            ::std::thread_local! {
                static INSTANCE: $crate::export::Slot<$collector> = const { $crate::export::Slot::new() };
            }

            struct Component;

            impl $crate::bindings::exports::whimbrel::plugin::lifecycle::Guest for Component {
                fn init(
                    context: $crate::bindings::exports::whimbrel::plugin::lifecycle::Context,
                ) -> Result<(), $crate::bindings::whimbrel::plugin::types::Error> {
                    INSTANCE.with(|slot| slot.init(context))
                }

                fn shutdown(_deadline_ms: u32) {
                    INSTANCE.with(|slot| slot.shutdown());
                }
            }

            impl $crate::bindings::exports::whimbrel::plugin::collect::Guest for Component {
                fn collect(deadline_ms: u32) -> Result<bool, $crate::bindings::whimbrel::plugin::types::Error> {
                    INSTANCE.with(|slot| slot.collect(deadline_ms))
                }
            }

            $crate::bindings::export_collector!(Component with_types_in $crate::bindings);
        };
    };
}

/// The first of several expressions.
#[doc(hidden)]
#[macro_export]
macro_rules! __first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

/// A custom section of the core module; an empty one is left out by the tool that makes the component.
#[doc(hidden)]
#[macro_export]
macro_rules! __section {
    ($section:literal, $text:expr) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = $section)]
            static SECTION: [u8; $text.len()] = section($text);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:expr),+ $(; $($key:expr => $value:expr),+ $(,)?)?) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($($message),+),
            &[$($(($key, ::std::string::ToString::to_string(&$value))),+)?],
        )
    };
}

/// Writes a line of level trace into the agent's log; see [`log`](crate::log).
#[macro_export]
macro_rules! trace {
    ($($line:tt)+) => { $crate::__log!(Trace, $($line)+) };
}

/// Writes a line of level debug into the agent's log; see [`log`](crate::log).
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// Writes a line of level info into the agent's log; see [`log`](crate::log).
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Writes a line of level warn into the agent's log; see [`log`](crate::log).
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Writes a line of level error into the agent's log; see [`log`](crate::log).
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}
