//! The drills as data: what is done to the fleet, and what is expected of it meanwhile.

use local_fleet::regions::REGIONS;

/// The cell that things are done to.
pub const VICTIM: &str = "cell-1";
/// The Region that is lost or cut off, and the one that its cells go to.
pub const LOST_REGION: &str = REGIONS[0];
pub const OTHER_REGION: &str = REGIONS[1];
/// The cell that wallets are moved to where one is needed.
pub const REFUGE: &str = "cell-2";

/// One thing done to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// SIGKILL to the victim's first instance, or to all of them; they stay down.
    KillInstance,
    KillCell,
    StartCell,
    StopControlPlane,
    StartControlPlane,
    /// Faults of the victim's database.
    SlowDatabase {
        latency_ms: u64,
    },
    LoseAnswers {
        percent: u8,
    },
    HealDatabase,
    /// The network between the router and the victim: what is sent waits; or connections end and are refused.
    SilenceNetwork,
    RefuseNetwork,
    MendNetwork,
    /// SIGSTOP to the victim's first instance.
    PauseInstance,
    ResumeInstance,
    StartEvacuation,
    /// Moves a part of the victim's buckets to the refuge.
    StartMigration,
    AwaitOperation,
    /// Moves these buckets back to the victim.
    StartReturn,
    /// All chains of the victim as one file, read from its tables.
    ExportCell,
    /// The victim's tables are deleted and created again, empty.
    LoseTables,
    RestoreCell,
    /// SIGKILL to everything in the Region, databases too; their files are removed.
    LoseRegion,
    /// The Region reaches neither the others nor the archive; its router and its cells go on.
    CutRegion,
    MendRegion,
    /// Of every cell that has its home in the Region.
    FailOver,
    /// The processes in the other Region are ready.
    AwaitServing,
    /// Processes of the cells that have left the Region learn of it.
    AwaitFormer,
    /// Compares the tables in the Region with those of the cells' new home.
    Reconcile,
}

impl Step {
    pub fn description(self) -> String {
        match self {
            Step::KillInstance => format!("kill -9 {VICTIM}-a, and keep it down"),
            Step::KillCell => format!("kill -9 every instance of {VICTIM}, and keep them down"),
            Step::StartCell => format!("start the instances of {VICTIM}"),
            Step::StopControlPlane => "stop the control plane and its database".into(),
            Step::StartControlPlane => "start the control plane and its database".into(),
            Step::SlowDatabase { latency_ms } => format!("the database of {VICTIM} takes {latency_ms} ms more a call"),
            Step::LoseAnswers { percent } => {
                format!("the database of {VICTIM} commits {percent} % of its writes and answers 500")
            }
            Step::HealDatabase => format!("the database of {VICTIM} is well again"),
            Step::SilenceNetwork => format!("nothing arrives between the router and {VICTIM}, without an error"),
            Step::RefuseNetwork => format!("connections between the router and {VICTIM} end, new ones are refused"),
            Step::MendNetwork => format!("the network between the router and {VICTIM} is whole again"),
            Step::PauseInstance => format!("SIGSTOP {VICTIM}-a"),
            Step::ResumeInstance => format!("SIGCONT {VICTIM}-a"),
            Step::StartEvacuation => format!("evacuate {VICTIM}"),
            Step::StartMigration => format!("migrate the first quarter of {VICTIM}'s buckets to {REFUGE}"),
            Step::AwaitOperation => "the operation is done".into(),
            Step::StartReturn => format!("migrate these buckets back from {REFUGE} to {VICTIM}"),
            Step::ExportCell => format!("export {VICTIM} from its tables"),
            Step::LoseTables => format!("delete the tables of {VICTIM}, and create empty ones"),
            Step::RestoreCell => format!("restore {VICTIM} from the export"),
            Step::LoseRegion => format!("kill -9 everything in {LOST_REGION}, and remove its databases"),
            Step::CutRegion => format!("nothing arrives between {LOST_REGION} and the rest, the archive included"),
            Step::MendRegion => format!("{LOST_REGION} is reached again, and reaches the archive"),
            Step::FailOver => format!("fail over the cells of {LOST_REGION} to {OTHER_REGION}"),
            Step::AwaitServing => format!("the processes in {OTHER_REGION} serve"),
            Step::AwaitFormer => format!("the processes that served in {LOST_REGION} stop"),
            Step::Reconcile => format!("reconcile what {LOST_REGION} has with {OTHER_REGION}"),
        }
    }
}

/// What must hold, beside the books, for a drill to pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expectation {
    /// Not one request without a usable answer.
    NobodySeesAnError,
    /// Errors only where the victim is asked for: its customers, and their payers.
    OnlyTheVictim,
    /// The victim failed or was slow: there was something to drill.
    VictimFelt,
    /// p99 of customers of other cells during the event is at most so many times that before it, or below the floor.
    OthersAsFast { times: f64, floor_ms: f64 },
    /// New customers got their wallets during the event.
    NewcomersServed,
    /// In the last second of the load no customer saw an error.
    Recovered,
    /// No wallet's home is the victim any more.
    VictimEmpty,
    /// Wallets were moved.
    SomeMoved,
}

/// What a drill's fleet needs between its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Plain,
    /// A relay before each instance.
    Relays,
    /// Two Regions.
    Regions,
}

pub struct Drill {
    pub name: &'static str,
    pub about: &'static str,
    pub network: Network,
    /// Cells at `--small`: the more there are, the fewer buckets the victim has to give away.
    pub small_cells: u16,
    pub begin: &'static [Step],
    /// Half way through the event.
    pub middle: &'static [Step],
    pub heal: &'static [Step],
    pub expectations: &'static [Expectation],
}

/// A whole fleet on one machine stalls for a moment now and then; what the drills do to the victim's latency is more.
const FLOOR_MS: f64 = 300.0;
const AS_FAST: Expectation = Expectation::OthersAsFast { times: 5.0, floor_ms: FLOOR_MS };

pub static DRILLS: [Drill; 12] = [
    Drill {
        name: "kill-instance",
        about: "one of a cell's instances dies; the others take over and no customer notices",
        network: Network::Plain,
        small_cells: 2,
        begin: &[Step::KillInstance],
        middle: &[],
        heal: &[Step::StartCell],
        expectations: &[Expectation::NobodySeesAnError, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "kill-cell",
        about: "all instances of a cell die; only its customers notice",
        network: Network::Plain,
        small_cells: 2,
        begin: &[Step::KillCell],
        middle: &[],
        heal: &[Step::StartCell],
        expectations: &[Expectation::VictimFelt, Expectation::OnlyTheVictim, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "evacuate-live",
        about: "a serving cell is emptied into the others; no customer notices",
        network: Network::Plain,
        small_cells: 4,
        begin: &[Step::StartEvacuation],
        middle: &[Step::AwaitOperation],
        heal: &[],
        expectations: &[Expectation::NobodySeesAnError, Expectation::VictimEmpty, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "evacuate-dead",
        about: "a cell without a living process is emptied from its tables; its customers are served elsewhere",
        network: Network::Plain,
        small_cells: 4,
        begin: &[Step::KillCell, Step::StartEvacuation],
        middle: &[Step::AwaitOperation],
        heal: &[],
        expectations: &[
            Expectation::VictimFelt,
            Expectation::OnlyTheVictim,
            Expectation::VictimEmpty,
            AS_FAST,
            Expectation::Recovered,
        ],
    },
    Drill {
        name: "control-plane-away",
        about: "the control plane and its database are gone; customers see nothing of it, and new ones come in",
        network: Network::Plain,
        small_cells: 2,
        begin: &[Step::StopControlPlane],
        middle: &[],
        heal: &[Step::StartControlPlane],
        expectations: &[Expectation::NobodySeesAnError, Expectation::NewcomersServed, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "slow-database",
        about: "a cell's database answers late; the other cells stay as fast as they were",
        network: Network::Plain,
        small_cells: 2,
        begin: &[Step::SlowDatabase { latency_ms: 400 }],
        middle: &[],
        heal: &[Step::HealDatabase],
        expectations: &[Expectation::VictimFelt, Expectation::OnlyTheVictim, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "lost-answers",
        about: "a cell's database commits writes and loses the answers; nothing is done twice",
        network: Network::Plain,
        small_cells: 2,
        begin: &[Step::LoseAnswers { percent: 30 }],
        middle: &[],
        heal: &[Step::HealDatabase],
        expectations: &[Expectation::OnlyTheVictim, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "network-cut",
        about: "the network between the router and a cell is cut, first silently, then audibly",
        network: Network::Relays,
        small_cells: 2,
        begin: &[Step::SilenceNetwork],
        middle: &[Step::RefuseNetwork],
        heal: &[Step::MendNetwork],
        expectations: &[Expectation::VictimFelt, Expectation::OnlyTheVictim, AS_FAST, Expectation::Recovered],
    },
    Drill {
        name: "zombie",
        about: "an instance is suspended while its wallets move to another cell, and wakes up afterwards",
        network: Network::Plain,
        small_cells: 2,
        begin: &[Step::StartMigration, Step::PauseInstance],
        middle: &[Step::AwaitOperation],
        heal: &[Step::ResumeInstance],
        expectations: &[
            Expectation::VictimFelt,
            Expectation::OnlyTheVictim,
            Expectation::SomeMoved,
            AS_FAST,
            Expectation::Recovered,
        ],
    },
    Drill {
        name: "restore-under-load",
        about: "a cell loses its tables after a part of its customers left, is restored, and they return to it",
        network: Network::Plain,
        small_cells: 2,
        begin: &[
            Step::StartMigration,
            Step::AwaitOperation,
            Step::KillCell,
            Step::ExportCell,
            Step::LoseTables,
            Step::RestoreCell,
        ],
        middle: &[Step::StartCell, Step::StartReturn, Step::AwaitOperation],
        heal: &[],
        expectations: &[
            Expectation::VictimFelt,
            Expectation::OnlyTheVictim,
            Expectation::SomeMoved,
            // The control plane moves and restores on the same machine.
            Expectation::OthersAsFast { times: 5.0, floor_ms: 3.0 * FLOOR_MS },
            Expectation::Recovered,
        ],
    },
    Drill {
        name: "lose-a-region",
        about: "a Region is lost with its databases; its cells go on in the other one, without their last seconds",
        network: Network::Regions,
        small_cells: 2,
        begin: &[Step::LoseRegion, Step::FailOver, Step::AwaitServing],
        middle: &[],
        heal: &[],
        expectations: REGIONS_EXPECT,
    },
    Drill {
        name: "region-cut-off",
        about: "a Region that is cut off goes on serving, while its cells fail over; what only it has is named",
        network: Network::Regions,
        small_cells: 2,
        begin: &[Step::CutRegion, Step::FailOver, Step::AwaitServing],
        middle: &[],
        heal: &[Step::MendRegion, Step::AwaitFormer, Step::Reconcile],
        expectations: REGIONS_EXPECT,
    },
];

static REGIONS_EXPECT: &[Expectation] = &[
    Expectation::VictimFelt,
    Expectation::OnlyTheVictim,
    // The control plane reads archives and writes tables on the same machine.
    Expectation::OthersAsFast { times: 5.0, floor_ms: 3.0 * FLOOR_MS },
    Expectation::Recovered,
];

pub fn named(name: &str) -> Option<&'static Drill> {
    DRILLS.iter().find(|drill| drill.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_drill_breaks_it_heals() {
        let pairs = [
            (Step::StopControlPlane, Step::StartControlPlane),
            (Step::SilenceNetwork, Step::MendNetwork),
            (Step::PauseInstance, Step::ResumeInstance),
            (Step::StartMigration, Step::AwaitOperation),
            (Step::LoseTables, Step::RestoreCell),
            (Step::RestoreCell, Step::StartCell),
            (Step::StartEvacuation, Step::AwaitOperation),
            (Step::CutRegion, Step::MendRegion),
        ];
        for drill in &DRILLS {
            assert!(std::ptr::eq(named(drill.name).expect("listed"), drill), "{} twice", drill.name);
            for (breaks, heals) in pairs {
                let healed = [drill.begin, drill.middle, drill.heal].concat().contains(&heals);
                assert!(!drill.begin.contains(&breaks) || healed, "{}: {breaks:?}", drill.name);
            }
            let has_relays = drill.network == Network::Relays;
            assert_eq!(has_relays, drill.begin.contains(&Step::SilenceNetwork), "{}", drill.name);
            let has_regions = drill.network == Network::Regions;
            assert_eq!(has_regions, drill.begin.contains(&Step::FailOver), "{}", drill.name);
        }
    }
}
