//! How `ctl` reaches the control plane: by its flags, or by what a local fleet's directory holds. It
//! also names the actor and the reason of a change.

use anyhow::Result;
use control_api::Because;
use control_api::client::{Client, Credentials, DEFAULT_SERVER};
use local_fleet::fleet::Fleet;
use local_fleet::secrets::Secrets;

use crate::flags::Common;

/// A client for the server that the flags name, else for the local fleet in `--data`, else for the default one. What the
/// flags leave out about a local fleet is read from its directory.
pub fn client(common: &Common) -> Result<Client> {
    let own = Fleet::load(&common.data).ok().flatten().filter(|_| common.server.is_none());
    let mut credentials = Credentials { authority: common.ca.clone(), token: common.token.clone() };
    if own.as_ref().is_some_and(|fleet| fleet.secure) {
        let secrets = Secrets::of(&common.data);
        credentials.authority.get_or_insert_with(|| secrets.authority());
        if credentials.token.is_none() {
            credentials.token = Some(secrets.operator_token(&common.actor)?);
        }
    }
    let own = own.map(|fleet| fleet.control_plane());
    let server = common.server.clone().or(own).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    Client::new(&server, &credentials)
}

pub fn because(common: &Common) -> Because {
    Because { actor: common.actor.clone(), reason: common.reason.clone() }
}
