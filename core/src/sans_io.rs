//! The state machines without sockets and clocks, for this workspace's simulation and fuzz targets
//! only: they run the very code that ships. No promise of stability, hence hidden.

pub use crate::backoff::Backoff;

/// The registration with DPS.
pub mod registration {
    pub use crate::{
        pacing::Throttling,
        provisioning::{
            machine::{Action, Event, Machine, Registered, Step},
            wire::{Answer, Operation, Request},
        },
    };
}

/// Packets out of any stream, and into it.
pub mod mqtt {
    pub use crate::transport::mqtt::{Stream, Wire};
}

/// The connection to a hub.
pub mod hub {
    pub use rumqttc::mqttbytes::{
        QoS,
        v4::{Packet, Publish},
    };

    pub use crate::hub::machine::{Machine, Output, Renewal, Waiter};
}
