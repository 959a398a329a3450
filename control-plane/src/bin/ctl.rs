//! `ctl`: see `control_plane::ctl`.

fn main() -> std::process::ExitCode {
    control_plane::ctl::main()
}
