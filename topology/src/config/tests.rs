use super::*;

const DEPLOYMENT: &str =
    "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='us-east-1'\n";

#[test]
fn a_cell_needs_only_its_id() {
    let config = Config::parse(&format!("{DEPLOYMENT}[[cells]]\nid='cell-1'\n")).expect("sound");
    assert_eq!((config.cells[0].weight, config.cells[0].max_customers), (1, 1_000_000));
}

#[test]
fn instances_are_addresses_and_may_have_roles_and_zones() {
    let cells = "[[cells]]\nid='a'\nmax_tps=5\n\
                 instances=['h:1', {address='h:2', role='accounts'}, {address='h:3', zone='z-1'}]\n";
    let config = Config::parse(&format!("{DEPLOYMENT}zones=['z-1']\n{cells}")).expect("sound");
    let cell = &config.cells[0];
    let zone = |one: &InstanceConfig| one.zone.as_ref().map(ToString::to_string);
    let found: Vec<_> = cell.instances.iter().map(|one| (one.address.as_str(), one.role, zone(one))).collect();
    let expected = [("h:1", Role::All, None), ("h:2", Role::Accounts, None), ("h:3", Role::All, Some("z-1".into()))];
    assert_eq!(found, expected);
    assert_eq!((cell.tps_of_one(Role::All), cell.tps_of_one(Role::Accounts)), (3, 5));
    let text = toml::to_string(&config).expect("plain");
    assert_eq!(Config::parse(&text).expect("sound"), config);
}

#[test]
fn what_is_wrong_is_said() {
    for (cells, words) in [
        ("", "no [[cells]]"),
        ("[[cells]]\nid='A'\n", "a cell id is"),
        ("[[cells]]\nid='a'\nwieght=2\n", "unknown field"),
    ] {
        let error = Config::parse(&format!("{DEPLOYMENT}{cells}")).expect_err(cells).to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// The files that `cdk/` is tested with as well.
fn fixtures(folder: &str) -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    files.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("text"))).collect()
}

/// `# key: value` in the first lines of a fixture.
fn said<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(": "))
}

#[test]
fn sound_files_are_taken_and_make_the_waves_that_they_say() {
    let all = fixtures("valid");
    assert!(all.len() >= 4);
    for (path, text) in all {
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let cells: Vec<CellId> = config.cells.iter().map(|cell| cell.id.clone()).collect();
        let waves: Vec<String> = config.deploys.waves(cells, CellId::as_str).iter().map(|wave| shown(wave)).collect();
        assert_eq!(waves.join(" | "), said(&text, "waves").expect("each says its waves"), "{path}");
    }
}

#[test]
fn roles_on_aws_have_the_names_that_cdk_gives_them() {
    let (path, text) =
        fixtures("valid").into_iter().find(|(path, _)| path.ends_with("/on-aws.toml")).expect("it is there");
    let config = Config::parse(&text).expect(&path);
    let zones = config.aws.as_ref().map(|aws| aws.zones_role(&config.deployment));
    assert_eq!(zones.as_deref(), said(&text, "role of the zones"));
    let tables = config.cells[1].tables_role(&config.deployment);
    assert_eq!(tables.as_deref(), said(&text, "role of the tables of cell-2"));
}

fn shown(wave: &[CellId]) -> String {
    wave.iter().map(CellId::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn unsound_files_are_refused_for_what_they_say() {
    let all = fixtures("invalid");
    assert!(all.len() >= 10);
    for (path, text) in all {
        let error = Config::parse(&text).expect_err(&path).to_string();
        // Of what a parser makes of wrong types and unknown fields, the words are its own.
        if let Some(words) = said(&text, "rule") {
            assert!(error.contains(words), "{path}: {error}");
        }
    }
}
