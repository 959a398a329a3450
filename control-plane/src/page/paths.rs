//! The paths of the page that both its routes and its HTML name.

pub const HOME: &str = "/page/";
pub const LOGIN: &str = "/page/login";
pub const LOGOUT: &str = "/page/logout";
pub const LOOK_UP: &str = "/page/where";
pub const EVENTS: &str = "/page/events";
