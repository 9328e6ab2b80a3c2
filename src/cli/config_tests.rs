//! Tests of the checked configuration: what is right, what is refused, and in which words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;

use super::super::settings::{Flags, Settings};
use super::*;

/// The configuration of these flags, these variables and this file.
fn check(flags: Flags, variables: &[(&str, &str)], file: &str) -> Result<(Config, String), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abide.toml");
    std::fs::write(&path, file).unwrap();
    let flags = Flags { config: Some(path), ..flags };
    let all: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, text)| (name.into(), text.into())).collect();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| OsString::from(*text))
    };
    let settings = Settings::gather(&flags, variable, all.into_iter())
        .map_err(|error| error.replace(&dir.path().display().to_string(), "DIR"))?;
    let config = Config::check(&settings)
        .map_err(|error| error.replace(&dir.path().display().to_string(), "DIR"))?;
    let shown = settings.show(&config.effective());
    Ok((config, shown.replace(&dir.path().display().to_string(), "DIR")))
}

fn flags(listen: &str) -> Flags {
    Flags { listen: Some(listen.into()), ..Flags::default() }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nconnections = 7\n";
    let listen = |given: Flags, variables: &[(&str, &str)]| {
        check(given, variables, file).unwrap().0.listen.port()
    };
    assert_eq!(listen(Flags::default(), &[]), 1);
    assert_eq!(listen(Flags::default(), &[("ABIDE_LISTEN", "127.0.0.1:2")]), 2);
    assert_eq!(listen(flags("127.0.0.1:3"), &[("ABIDE_LISTEN", "127.0.0.1:2")]), 3);
    assert_eq!(check(Flags::default(), &[], "").unwrap().0.listen, LISTEN);
    assert_eq!(check(Flags::default(), &[], file).unwrap().0.limits.connections, 7);
}

#[test]
fn configuration_with_several_errors_reports_all_of_them() {
    let file = "connections = 0\ndrain_s = -1\npublic_url = \"x\"\ntls_key = \"a\"\n";
    let error = check(flags("nowhere"), &[], file).map(|_| ()).unwrap_err();
    for part in ["--listen", "from 1 up", "of seconds", "\"x\" is not", "tls_cert is not"] {
        assert_eq!(error.matches(part).count(), 1, "{part}: {error}");
    }
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_its_place() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 16] = [
        (
            "listen = \"nonsense\"",
            &[],
            "DIR/abide.toml: \"nonsense\" is not an address with a port",
        ),
        ("", &[("ABIDE_LISTEN", "127.0.0.1")], "ABIDE_LISTEN: \"127.0.0.1\" is not an address"),
        ("lisen = 1", &[], "DIR/abide.toml: unknown setting \"lisen\"; settings are data, listen"),
        ("admin_password = \"x\"", &[], "it is set by ABIDE_ADMIN_PASSWORD only"),
        ("a = [", &[], "DIR/abide.toml: line 1: "),
        ("dev = true\nlisten = \"0.0.0.0:0\"", &[], "dev is for this machine only"),
        ("dev = \"maybe\"", &[], "is not true or false"),
        ("tls_cert = \"a\"", &[], "tls_cert is set but tls_key is not"),
        ("tls_key = \"a\"", &[], "tls_key is set but tls_cert is not"),
        ("proxies = [\"10.0.0.0/8\", \"x\"]", &[], "is not addresses or networks"),
        ("connections = 0", &[], "\"0\" is not a number from 1 up"),
        ("drain_s = -1", &[], "is not a number of seconds up to 3600"),
        ("log = \"a=b=c\"", &[], "is not a level or a filter"),
        ("profiles = \"cart\"", &[], "is not time-outs as NAME=IDLE/ABSOLUTE"),
        ("cors_origins = \"app.example/x\"", &[], "is not origins"),
        (
            "",
            &[("ABIDE_ADMIN_PASSWORD", "short")],
            "ABIDE_ADMIN_PASSWORD has 5 characters; it must have 12 to 128",
        ),
    ];
    for (file, variables, expected) in cases {
        let error = check(Flags::default(), variables, file).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{file} {variables:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("short"), "{error}");
    }
    assert!(check(flags("[::]:0"), &[("ABIDE_DEV", "1")], "").is_err(), "dev off loopback");
    assert!(check(flags("[::1]:0"), &[("ABIDE_DEV", "1")], "").is_ok());
    assert!(check(flags("localhost:0"), &[("ABIDE_DEV", "1")], "").is_ok());
}

#[test]
fn what_is_shown_can_be_read_again_and_holds_no_secret() {
    let file = "profiles = [\"cart=30d/90d\"]\nrate_login = \"5/60s\"\nproxies = \"10.0.0.0/8\"\ncors_origins = [\"https://a.example\"]\n";
    let password = "a long enough password";
    let (config, shown) =
        check(flags("127.0.0.1:3"), &[("ABIDE_ADMIN_PASSWORD", password)], file).unwrap();
    assert!(!shown.contains(password) && !format!("{config:?}").contains(password));
    assert!(shown.contains("listen = \"127.0.0.1:3\" # --listen\n"), "{shown}");
    assert!(shown.contains("dev = false # default\n"), "{shown}");
    assert!(shown.contains("# tls_cert is not set\n"), "{shown}");
    let (again, _) = check(Flags::default(), &[], &shown).unwrap();
    assert_eq!(again.effective(), config.effective());
    assert_eq!(again.rules.profiles.len(), 1);
    assert_eq!(again.http.rates.unwrap().login, Rate::new(5, 60));
}

#[test]
fn dev_opens_what_a_deployment_keeps_closed() {
    let (config, _) = check(Flags::default(), &[("ABIDE_DEV", "true")], "").unwrap();
    assert!(config.rules.registration_open && config.rules.anonymous_open && config.http.dev);
    assert_eq!((config.rules.password_chars_min, config.http.rates), (8, None));
    let (config, _) = check(Flags::default(), &[], "").unwrap();
    assert!(!config.rules.registration_open && !config.rules.anonymous_open && !config.http.dev);
    assert!(config.http.rates.is_some());
    let file = "dev = true\nregistration_open = false\n";
    assert!(!check(Flags::default(), &[], file).unwrap().0.rules.registration_open);
}

/// Where nothing is said of it, nothing is let out; only --dev lets requests go to this machine.
#[test]
fn nothing_is_let_out_by_default() {
    let allows = |dev: bool, uri: &str| {
        let file = if dev { "dev = true" } else { "" };
        let egress = check(flags("127.0.0.1:0"), &[], file).unwrap().0.egress;
        let target = crate::outbound::ServerAddress::of(&uri.parse().unwrap()).unwrap();
        egress.must_allow(&target).is_ok()
    };
    for uri in ["http://127.0.0.1:1/", "http://localhost/", "http://10.0.0.1/", "https://8.8.8.8/"]
    {
        assert!(!allows(false, uri), "{uri}");
    }
    assert!(allows(true, "http://127.0.0.1:1/") && allows(true, "http://localhost/"));
    assert!(!allows(true, "http://10.0.0.1/") && !allows(true, "https://api.example.com/"));
}

#[test]
fn memory_budget_takes_units_and_a_least_size() {
    let memory = |text: &str| {
        check(Flags::default(), &[("ABIDE_MEMORY_MAX", text)], "").map(|(config, _)| config.memory)
    };
    let (default, shown) = check(Flags::default(), &[], "").unwrap();
    assert_eq!(default.memory.bytes(), 512 * MIB);
    assert!(shown.contains("memory_max = \"512MiB\" # default"), "{shown}");
    for (text, bytes) in [("2GiB", 2048 * MIB), ("300 MiB", 300 * MIB), ("262144KiB", 256 * MIB)] {
        assert_eq!(memory(text).unwrap().bytes(), bytes, "{text}");
    }
    assert_eq!(memory("268435456").unwrap().bytes(), 256 * MIB);
    for text in ["64MiB", "much", "-1", "1TiB", "99999999999999GiB"] {
        let refused = memory(text).unwrap_err();
        assert!(refused.contains("ABIDE_MEMORY_MAX") && refused.contains("128MiB"), "{refused}");
    }
    let file = check(Flags::default(), &[], "memory_max = \"1GiB\"").unwrap().0;
    assert_eq!(file.memory.bytes(), 1024 * MIB);
}

const HOOKS: &str = "[hooks.bank]\nscheme = \"sha256\"\nsecret = \"bank-key\"\n\
    transaction = \"=body.tx\"\nid = \"=body.id\"\n";

/// One rule for all secrets: however a name is spelt, and wherever the value comes from.
#[test]
fn secrets_of_the_file_and_of_the_environment_have_the_same_names() {
    let in_file = format!("{HOOKS}[secrets]\nbank_key = \"of the file\"\nmail = \"m\"\n");
    let (config, shown) = check(Flags::default(), &[], &in_file).unwrap();
    assert_eq!(config.hooks[0].secret, "BANK_KEY");
    // No definition may send a hook's secret.
    assert_eq!(config.calls.secrets.keys().collect::<Vec<_>>(), ["MAIL"]);
    assert!(shown.contains("# secret BANK_KEY of hook bank, from [secrets] of DIR"), "{shown}");
    assert!(shown.contains("# secret MAIL for calls, from [secrets] of DIR"), "{shown}");
    assert!(shown.contains("# hook bank: secret BANK_KEY\n"), "{shown}");
    assert!(!shown.contains("of the file") && !format!("{config:?}").contains("of the file"));

    let variables = [("ABIDE_SECRET_BANK_KEY", "of the environment"), ("ABIDE_SECRET_MAIL", "n")];
    let (config, shown) = check(Flags::default(), &variables, &in_file).unwrap();
    assert_eq!(config.calls.secrets["MAIL"], "n");
    assert!(shown.contains("# secret MAIL for calls, from ABIDE_SECRET_MAIL"), "{shown}");
    assert!(!shown.contains("of the environment"), "{shown}");
    let (config, _) = check(Flags::default(), &[("ABIDE_SECRET_bank-key", "x")], HOOKS).unwrap();
    assert!(config.calls.secrets.is_empty());
}

#[test]
fn a_secret_that_is_missing_empty_or_misnamed_is_said() {
    let cases = [
        (HOOKS.to_owned(), "there is no secret BANK_KEY: set the variable ABIDE_SECRET_BANK_KEY"),
        (format!("{HOOKS}[secrets]\nBANK_KEY = \"\"\n"), "the secret BANK_KEY is empty"),
        ("[secrets]\na-b = \"1\"\nA_B = \"2\"\n".to_owned(), "the secret A_B is there twice"),
        ("[secrets]\n\"a b\" = \"1\"\n".to_owned(), "the name of a secret has 1 to 64"),
        ("[secrets]\na = 1\n".to_owned(), "secrets must be a table of texts"),
        ("secrets = 1\n".to_owned(), "secrets must be a table of texts"),
    ];
    for (file, expected) in cases {
        let error = check(Flags::default(), &[], &file).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{file}: {error}");
    }
}
