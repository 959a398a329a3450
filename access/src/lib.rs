//! Authentication and authorization: certificates between our own processes, tokens of callers from
//! outside, and the policy that both are judged by. Shared by router, cell and control plane.
//!
//! - [`role`], [`tls`], [`http`]: mutual TLS, with files that are read again when they change.
//! - [`jwt`], [`identity`]: a bearer token becomes an [`Identity`], or a [`Denied`].
//! - [`policy`], [`guard`]: whether an identity may do what it asks for.
//! - [`collector`]: where traces are posted to.
//! - [`descriptors`]: the limit of file descriptors, and whether one was missing.
//! - [`listener`]: HTTP/1.1 for callers that may send and read as slowly as they like.
//! - [`origin`]: whether another site caused a request.
//! - [`flags`], [`proxies`]: what the command line of a process may say.
//!
//! It must never log or return a token or a key, nor let anything through because it could not find out.

pub mod collector;
pub mod denied;
pub mod descriptors;
pub mod flags;
pub mod guard;
pub mod http;
pub mod identity;
pub mod jwt;
pub mod limits;
pub mod listener;
pub mod origin;
pub mod policy;
pub mod proxies;
pub mod role;
pub mod tls;
pub mod watch;

pub use denied::Denied;
pub use guard::{Gate, Guard};
pub use identity::{Identity, Kind};
pub use role::Role;
