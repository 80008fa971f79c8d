//! NULL in each place of each function that the header declares: everywhere at once, and one at a
//! time between neighbours that are valid, so that no check hides another.

use std::{collections::BTreeSet, fs};

use dps_tests::{openssl, text};

use crate::{
    library::{Link, compile, folder, prefix, source},
    world::{World, edited_hsm},
};

/// Where the header allows NULL, and the call does its work.
const OPTIONAL: [(&str, &str); 25] = [
    ("dps_batch_make_csv", "callback userdata"),
    ("dps_batch_make_range", "callback userdata"),
    ("dps_key_from_pem", "passphrase"),
    ("dps_key_to_pem", "passphrase"),
    ("dps_authority_issue_requested", "ignored"),
    ("dps_authority_reissue_device", "new_key"),
    ("dps_chain_from_pkcs12", "passphrase key"),
    ("dps_chain_inspect", "passphrase"),
    ("dps_identity_from_pem_files", "passphrase"),
    ("dps_identity_from_pem", "passphrase"),
    ("dps_identity_from_pkcs12_file", "passphrase"),
    ("dps_identity_from_pkcs12", "passphrase"),
    ("dps_doctor_set_key_file", "path passphrase"),
    ("dps_doctor_run", "id_scope options"),
    ("dps_hub_connect", "options"),
    ("dps_hub_start", "options"),
    ("dps_hub_connect_by_connection_string", "options"),
    ("dps_hub_start_by_connection_string", "options"),
    ("dps_hub_submit", "callback userdata"),
    ("dps_hub_do_work", "wait_ms"),
    ("dps_log_set", "callback userdata"),
    ("dps_options_set_payload", "json"),
    ("dps_registration_do_work", "wait_ms"),
    ("dps_register", "options callback userdata"),
    ("dps_registration_start", "options callback userdata"),
];

/// Each function of the header with nothing but zeros, and each that fails says so.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_is_safe_on_null() {
    let mut calls = String::new();
    for function in &functions() {
        let Function { name, parameters, makes, .. } = function;
        let zeros = vec!["0"; parameters.len()].join(", ");
        calls += &match makes {
            _ if function.fallible() => {
                format!("    if ({name}({zeros}) == DPS_OK) return fail(\"{name}\");\n")
            }
            Some(handle) => format!("    {handle}_free({name}());\n"),
            None => format!("    (void){name}({zeros});\n"),
        };
    }
    let program = format!(
        "#include <stdio.h>\n#include \"dps_core.h\"\n\
         static int fail(const char *name) {{ (void)printf(\"%s\\n\", name); return 1; }}\n\
         int main(void) {{\n{calls}    (void)printf(\"done\\n\");\n    return 0;\n}}\n"
    );
    let path = folder().join("zeros.c");
    fs::write(&path, program).expect("a program is written");
    let world = World::new().await;
    let program = compile("zeros", &[path], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

/// The refusal names the place, and nothing is written; where NULL is allowed, the work is done.
#[tokio::test(flavor = "multi_thread")]
async fn one_null_among_valid_neighbours_is_named_and_writes_nothing() {
    let mut optional: BTreeSet<_> = OPTIONAL
        .iter()
        .flat_map(|(function, names)| names.split(' ').map(move |name| (*function, name)))
        .collect();
    let functions = functions();
    let (mut calls, mut places) = (String::new(), 0);
    // One function of C for each function of the header: a single one with all calls would be
    // thousands of lines under the sanitizers.
    let mut tested = Vec::new();
    for function in &functions {
        // With one pointer and no error, nothing but zeros was the same call.
        let pointers = function.parameters.iter().filter(|parameter| parameter.pointer());
        if pointers.count() < 2 {
            continue;
        }
        let name = &function.name;
        calls += &format!("static void nulls_of_{name}(void)\n{{\n");
        tested.push(name);
        for missing in function.parameters.iter().filter(|parameter| parameter.pointer()) {
            places += 1;
            let place = &missing.name;
            let arguments: Vec<_> = (function.parameters.iter())
                .map(|other| match other.name == *place {
                    true => "NULL".to_owned(),
                    false => other.sample(name),
                })
                .collect();
            let call = format!("{name}({})", arguments.join(", "));
            let expected = match (name.as_str(), place.as_str()) {
                ("dps_identity_from_hsm_tpm", "error") => "UNSUPPORTED".to_owned(),
                (_, "error") => "DONE".to_owned(),
                key if optional.remove(&key) => "DONE".to_owned(),
                ("dps_identity_from_hsm_symmetric_key", "registration_id" | "key") => {
                    "REFUSED(\"together\")".to_owned()
                }
                _ => format!("REFUSED(\"{place} is NULL\")"),
            };
            calls += &match function.fallible() {
                true => format!("    CALL({expected}, {call});\n"),
                false => format!("    prepare();\n    (void){call};\n    CHECK(is_untouched());\n"),
            };
        }
        calls += "}\n\n";
    }
    assert!(optional.is_empty(), "not in the header: {optional:?}");
    assert!(places > 200, "{places} places were found");
    calls += "static void every_null(void)\n{\n";
    for name in tested {
        calls += &format!("    nulls_of_{name}();\n");
    }
    calls += "}\n";

    let generated = tempfile::tempdir().expect("a folder");
    let at = |name: &str| generated.path().join(name);
    fs::write(at("nulls_calls.h"), calls).expect("the calls are written");
    let mut world = World::new().await;
    let pfx = at("empty-passphrase.pfx");
    openssl(
        &[
            &["pkcs12", "-export", "-passout", "pass:", "-out", text(&pfx)][..],
            &["-in", world.get("CHAIN"), "-inkey", world.get("KEY")],
        ]
        .concat(),
    );
    let pfx = fs::read(pfx).expect("what openssl wrote");
    world.write_bytes("EMPTY_PASSPHRASE_PFX", "empty-passphrase.pfx", &pfx);
    world.write("IDS", "ids.csv", "registrationId\ndevice-0003\n");
    let (chain, key) = (world.get("SECOND_CHAIN"), world.get("SECOND_KEY"));
    let hsm = edited_hsm(generated.path(), "device-02", chain.as_ref(), key.as_ref());
    let include = format!("-I{}", text(generated.path()));
    let flags = [include.as_str(), "-Wno-unused-function"];
    let program = compile("nulls", &[source("nulls.c"), hsm], Link::Static, &flags);
    assert_eq!(world.run(&program, &[text(&at("devices"))]).await, "done\n");
}

struct Function {
    name: String,
    parameters: Vec<Parameter>,
    /// The handle that it makes of nothing.
    makes: Option<String>,
}

impl Function {
    /// It has a place for an error.
    fn fallible(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.declared == "dps_error **")
    }
}

struct Parameter {
    /// As in C, with a space before the stars.
    declared: String,
    name: String,
}

impl Parameter {
    fn pointer(&self) -> bool {
        self.declared.ends_with('*') || self.declared.ends_with("_callback")
    }

    /// What of `programs/nulls.c` stands in this place of a call that goes well.
    fn sample(&self, function: &str) -> String {
        let name = self.name.as_str();
        let declared = self.declared.trim_start_matches("const ");
        match declared {
            "dps_signer *" if function == "dps_identity_from_token_signer" => {
                "&valid.token_signer".to_owned()
            }
            "dps_signer *" | "dps_hsm_source *" => format!("&valid.{}", handle(declared)),
            "char **" if name == "ignored" => "&out.second_text".to_owned(),
            "char **" => "&out.text".to_owned(),
            "uint8_t **" => "&out.bytes".to_owned(),
            "size_t *" => "&out.length".to_owned(),
            "uint32_t *" => "&out.wait_ms".to_owned(),
            "int64_t *" => "&out.code".to_owned(),
            "void *" => "&valid".to_owned(),
            "char *" => string(function, name),
            "uint8_t *" => format!("valid.{}.bytes", blob(function, name)),
            _ if declared.ends_with("**") => format!("&out.{}", handle(declared)),
            _ if declared.ends_with('*') => format!("valid.{}", handle(declared)),
            _ if declared.ends_with("_callback") => format!("on_{}", handle(declared)),
            "size_t" if name == "index" => "0".to_owned(),
            "size_t" => {
                let bytes = name.strip_suffix("_len").expect("a length of bytes");
                format!("valid.{}.length", blob(function, bytes))
            }
            "bool" => "false".to_owned(),
            "uint16_t" => "8883".to_owned(),
            "int64_t" => "4102444800".to_owned(),
            "dps_key_type" => "DPS_KEY_EC_P256".to_owned(),
            "dps_log_level" => "DPS_LOG_ERROR".to_owned(),
            "dps_doctor_reach" => "DPS_DOCTOR_FILES".to_owned(),
            "uint32_t" => match name {
                "days" => "30",
                "path_length" => "0",
                "deadline_ms" | "keep_alive_ms" | "token_lifetime_ms" => "120000",
                _ => panic!("{function}: no sample for {name}"),
            }
            .to_owned(),
            _ => panic!("{function}: no sample for {declared} {name}"),
        }
    }
}

/// `chain` of `dps_chain **`.
fn handle(declared: &str) -> &str {
    let name = declared.trim_start_matches("dps_").trim_end_matches([' ', '*']);
    name.trim_end_matches("_callback")
}

fn string(function: &str, name: &str) -> String {
    let literal = |text: &str| format!("\"{text}\"");
    let variable = |name: &str| format!("variable(\"{name}\")");
    match (function, name) {
        ("dps_identity_from_hsm_symmetric_key", "registration_id") => variable("SYMMETRIC_ID"),
        ("dps_identity_from_pkcs12_file", "path") => variable("EMPTY_PASSPHRASE_PFX"),
        ("dps_options_set_roots_file", "path") => variable("SSL_CERT_FILE"),
        ("dps_doctor_set_key_file", "path") => variable("KEY"),
        ("dps_doctor_set_authorities_file" | "dps_doctor_set_group_certificate_file", "path") => {
            variable("AUTHORITIES")
        }
        (_, "path" | "chain_path") => variable("CHAIN"),
        (_, "key_path") => variable("KEY"),
        (_, "authorities_path") => variable("AUTHORITIES"),
        (_, "connection_string") => "valid.connection_string".to_owned(),
        (_, "csv_path") => variable("IDS"),
        (_, "key") => variable("SYMMETRIC_KEY"),
        (_, "group_key") => variable("GROUP_KEY"),
        (_, "id_scope") => variable("ID_SCOPE"),
        (_, "host_and_port") => variable("DPS_CONNECT_TO"),
        ("dps_chain_to_pkcs12" | "dps_key_to_pem", "passphrase") => literal("1234"),
        (_, "passphrase") => literal(""),
        (_, "registration_id" | "device_id") => literal("device-01"),
        (_, "range") => literal("device-0001..device-0002"),
        (_, "folder") => "valid.folder".to_owned(),
        (_, "hub_host") => "dps_assignment_hub(valid.assignment)".to_owned(),
        (_, "host") => literal("global.azure-devices-provisioning.net"),
        (_, "api_version") => literal("2021-06-01"),
        (_, "json") => literal("{}"),
        (_, "text") => literal("401002 CA certificate not found."),
        (_, "content_type") => literal("application/json"),
        (_, "content_encoding") => literal("utf-8"),
        (_, "common_name" | "verification_code" | "name" | "value" | "id") => literal("a-name"),
        _ => panic!("{function}: no sample for the text {name}"),
    }
}

fn blob(function: &str, name: &str) -> &'static str {
    match (function, name) {
        ("dps_options_set_roots_pem", "pem") => "roots_pem",
        ("dps_key_from_pem", "pem") => "key_pem",
        (_, "pem" | "certificate" | "chain") => "chain_pem",
        (_, "key") => "key_pem",
        (_, "certificate_pem") => "own_pem",
        (_, "authorities_pem") => "authority_pem",
        (_, "bytes") => "pfx",
        (_, "request") => "request_pem",
        (_, "public_key" | "payload") => "public_key",
        _ => panic!("{function}: no sample for the bytes {name}"),
    }
}

/// The prototypes of the header: what ends in `);` and begins at the margin.
fn functions() -> Vec<Function> {
    let header = fs::read_to_string(prefix().join("include/dps_core.h")).expect("the header");
    let code: String = header
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let functions: Vec<_> = code.split(';').filter_map(function).collect();
    assert!(functions.len() > 80, "{} functions were found", functions.len());
    functions
}

fn function(statement: &str) -> Option<Function> {
    let statement = statement.rsplit("\n\n").next()?.trim();
    let (head, rest) = statement.split_once('(')?;
    let at = head.find("dps_").and_then(|_| head.rfind("dps_"))?;
    let (returns, name) = head.split_at(at);
    let known = !returns.trim().is_empty() && !returns.contains("typedef");
    if !known || name.contains([' ', '*', ')']) {
        return None;
    }
    let parameters = match rest.strip_suffix(')')? {
        "void" => Vec::new(),
        parameters => parameters.split(',').map(parameter).collect(),
    };
    let makes = returns
        .strip_suffix(" *")
        .filter(|handle| parameters.is_empty() && handle.starts_with("dps_"))
        .map(str::to_owned);
    Some(Function { name: name.to_owned(), parameters, makes })
}

fn parameter(declaration: &str) -> Parameter {
    let declaration = declaration.trim();
    let at = declaration.rfind([' ', '*']).expect("a type and a name") + 1;
    let (declared, name) = declaration.split_at(at);
    Parameter { declared: declared.trim().to_owned(), name: name.to_owned() }
}
