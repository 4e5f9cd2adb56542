//! What `wit-bindgen` makes of the contract. Generated, and unsafe inside: the canonical ABI is pointers.

wit_bindgen::generate!({
    path: "../wit/v0.1",
    world: "collector",
    pub_export_macro: true,
    export_macro_name: "export_collector",
    default_bindings_module: "whimbrel_sdk::bindings",
});
