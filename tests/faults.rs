//! What customers notice while processes, databases, networks, zones and whole cells fail.

mod archived;
mod drills;
mod ejection;
mod kills;
mod outages;
mod recovery;
mod stuck;
mod zones;
