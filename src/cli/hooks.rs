//! Hooks in the file of settings: `[hooks.NAME]`.

use std::path::Path;

use super::settings::Secrets;
use crate::app::signature::SigningKey;
use crate::app::{Hook, SignatureScheme};
use crate::engine::expression::Expr;
use crate::types::secret_name;

/// Settings of an inbound webhook.
const KEYS: [&str; 7] = ["scheme", "secret", "header", "workflow", "transaction", "id", "input"];

/// Reads all hooks of a file.
///
/// # Errors
/// One line: the file, the hook, what is wrong and what would be right.
pub(super) fn read(
    value: &toml::Value,
    file: &Path,
    secrets: &Secrets,
) -> Result<Vec<Hook>, String> {
    let file = file.display();
    let table = value.as_table().ok_or_else(|| format!("{file}: hooks are [hooks.NAME]"))?;
    let hook = |(name, value): (&String, &toml::Value)| {
        one(name, value, secrets).map_err(|what| format!("{file}: hooks.{name}: {what}"))
    };
    table.iter().map(hook).collect()
}

fn one(name: &str, value: &toml::Value, secrets: &Secrets) -> Result<Hook, String> {
    let table = value.as_table().ok_or("must be a table")?;
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key {unknown:?}; keys are {}", KEYS.join(", ")));
    }
    let get = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(format!("{key} must be a text")),
    };
    let expr = |key: &str| -> Result<Option<Expr>, String> {
        let Some(text) = get(key)? else { return Ok(None) };
        let source = text.strip_prefix('=').ok_or(format!(
            "{key} must be an expression that begins with =, as \"=body.order.id\""
        ))?;
        let compiled = Expr::compile(source, &Hook::scope()).map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| fault.message).collect();
            format!("{key}: {}", faults.join("; "))
        })?;
        Ok(Some(compiled))
    };
    let scheme = match get("scheme")? {
        Some("standard") => SignatureScheme::Standard,
        Some("sha256") => {
            let header = get("header")?.unwrap_or("x-hub-signature-256").to_ascii_lowercase();
            SignatureScheme::Sha256 { header }
        }
        _ => {
            return Err("scheme must be \"standard\" (Standard Webhooks) or \"sha256\" (a header \
                        with sha256=HEX)"
                .to_owned());
        }
    };
    if scheme == SignatureScheme::Standard && table.contains_key("header") {
        return Err("header belongs to the scheme \"sha256\"".to_owned());
    }
    let id = expr("id")?;
    if scheme != SignatureScheme::Standard && id.is_none() {
        return Err("id is missing: add the expression of a message's id, under which it counts \
                    once, as id = \"=body.id\""
            .to_owned());
    }
    let named = get("secret")?
        .ok_or("secret is missing: the name of its secret, as secret = \"PAYMENTS\"")?;
    let named = secret_name(named);
    let secret = secrets.get(&named).ok_or(format!(
        "there is no secret {named}: set the variable ABIDE_SECRET_{named}, or {named} in the table \
         [secrets]"
    ))?;
    // One a line, while secrets change: a shared secret may have spaces.
    let lines = secret.lines().map(str::trim).filter(|secret| !secret.is_empty());
    let keys = lines.map(|secret| match &scheme {
        SignatureScheme::Standard => SigningKey::standard(secret)
            .ok_or(format!("the secret {named} must be whsec_ and base64 (Standard Webhooks)")),
        SignatureScheme::Sha256 { .. } => Ok(SigningKey::new(secret.as_bytes())),
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(format!("the secret {named} is empty"));
    }
    Ok(Hook {
        name: name.parse().map_err(|error| format!("the name {error}"))?,
        secret: named,
        scheme,
        keys,
        workflow: match get("workflow")? {
            None => None,
            Some(workflow) => Some(workflow.parse().map_err(|error| format!("workflow {error}"))?),
        },
        transaction: expr("transaction")?.ok_or(
            "transaction is missing: add the expression of a transaction's id, as transaction = \
                    \"=body.id\"",
        )?,
        id,
        input: expr("input")?,
    })
}
