//! Trials: how well the whole protocol does over links of given rate, delay and loss, in virtual time.
//!
//! | | |
//! | --- | --- |
//! | [`Case`] | a link |
//! | [`Terminal`], [`Role`] | a host, and what programs do with its streams |
//! | [`Cubic`] | a flow of another kind on the same link |
//! | [`Trial`] | two terminals on a link, and what was measured |
//! | [`report`] | all cases as tables |
//! | [`mesh_report`] | the same of nodes that relay |

mod case;
mod cubic;
mod figures;
mod measure;
mod mesh;
mod share;
mod table;
mod talk;
mod terminal;
mod trace;

pub use case::{BLACKOUT, Case, Incident, Loss, OVERHEAD, SHARED, STEADY, STEPS};
pub use cubic::Cubic;
pub use figures::{jain, median, percentile};
pub use measure::{Bulk, Trial};
pub use mesh::{HOP, MeshEffort, is_mesh_name, mesh_report};
pub use share::{Rival, Share};
pub use table::{Effort, is_name, report};
pub use talk::{Role, SMALL, Talk};
pub use terminal::Terminal;
pub use trace::trace;
