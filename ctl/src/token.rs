//! `ctl token`: a token of a local fleet's own issuer, for trying things out.

use std::time::Duration;

use anyhow::Result;
use command_line::{USAGE, failure};
use local_fleet::secrets::Secrets;
use serde_json::json;
use topology::UserId;

use crate::flags::Common;
use crate::flags::token::TokenArgs;

pub fn run(common: &Common, wanted: &TokenArgs) -> Result<()> {
    let claims = match (&wanted.customer, &wanted.service, &wanted.operator) {
        (Some(user), _, _) => {
            let user = UserId::parse(user.as_str()).map_err(|error| failure(USAGE, error.to_string()))?;
            json!({ "kind": "customer", "sub": user.as_str() })
        }
        (_, Some(name), _) => json!({ "kind": "service", "sub": name, "scope": wanted.scope.join(" ") }),
        (_, _, name) => json!({ "kind": "operator", "sub": name, "role": wanted.role.name() }),
    };
    println!("{}", Secrets::of(&common.data).mint(claims, Duration::from_secs(wanted.minutes * 60))?);
    Ok(())
}
