//! `ctl`: see the library.

fn main() -> std::process::ExitCode {
    ctl::main()
}
