//! Assigning an admitted device to a hub, and writing it into that hub's registry.

use rusqlite::Connection;
use serde_json::Map;
use time::OffsetDateTime;

use super::attest::Admitted;
use super::terms::{Reprovision, Terms};
use super::{clock, tokens};
use crate::store::StoreError;
use crate::store::devices::{self, Device, DeviceDocument, DeviceStatus, Twin};
use crate::store::registrations::{self, Assignment, Record, Registration, Status, Substatus};

/// `errorCode` of a registration that has no hub to go to.
const NO_HUB: u32 = 400_208;

/// Decides where the device goes, and stores its registration record and its hub device.
pub(super) fn provision(
    db: &Connection,
    registration_id: &str,
    admitted: &Admitted,
    linked: &[String],
    now: OffsetDateTime,
) -> Result<Record, StoreError> {
    let stamp = clock::stamp(now);
    let previous = registrations::get(db, registration_id)?;
    // The record keeps the letter case of the first registration, and with it the device ID: that
    // of a hub tells letter cases apart.
    let (registration_id, created, last) = match previous {
        Some(Registration { record, assignment, .. }) => {
            (record.registration_id, record.created_date_time_utc, assignment)
        }
        None => (registration_id.to_owned(), stamp.clone(), None),
    };
    let mut record = Record {
        registration_id: registration_id.clone(),
        created_date_time_utc: created,
        assigned_hub: None,
        device_id: None,
        status: Status::Disabled,
        substatus: None,
        error_code: None,
        error_message: None,
        last_updated_date_time_utc: stamp.clone(),
        etag: tokens::etag(now)?,
    };
    let terms = &admitted.terms;
    let mut assignment = last.clone();
    if terms.enabled() {
        let device = terms.device_id.as_deref().filter(|id| !id.is_empty());
        let device = device.unwrap_or(&registration_id);
        match choose(terms, &registration_id, last.as_ref(), device, linked) {
            Some(chosen) => {
                let writer = Writer { db, admitted, now, stamp: &stamp };
                record.status = Status::Assigned;
                record.substatus = Some(writer.assign(last.as_ref(), &chosen)?);
                record.assigned_hub = Some(chosen.hub.clone());
                record.device_id = Some(chosen.device.clone());
                assignment = Some(chosen);
            }
            None => {
                record.status = Status::Failed;
                record.error_code = Some(NO_HUB);
                record.error_message =
                    Some("No IoT hub is linked that the enrollment allows.".to_owned());
            }
        }
    }
    let registration =
        Registration { sequence: 0, group: admitted.group.clone(), assignment, record };
    registrations::put(db, &registration)?;
    Ok(registration.record)
}

fn choose(
    terms: &Terms,
    registration_id: &str,
    last: Option<&Assignment>,
    device: &str,
    linked: &[String],
) -> Option<Assignment> {
    if terms.reprovision() == Reprovision::Never
        && let Some(last) = last.filter(|last| linked.contains(&last.hub))
    {
        return Some(last.clone());
    }
    let hub = terms.choose_hub(registration_id, linked)?;
    Some(Assignment { hub, device: device.to_owned() })
}

struct Writer<'a> {
    db: &'a Connection,
    admitted: &'a Admitted,
    now: OffsetDateTime,
    stamp: &'a str,
}

impl Writer<'_> {
    /// Writes the device into its hub, takes it out of the one it leaves, and says which kind of
    /// assignment that was (Microsoft, concepts-device-reprovision).
    fn assign(
        &self,
        last: Option<&Assignment>,
        chosen: &Assignment,
    ) -> Result<Substatus, StoreError> {
        let resets = self.admitted.terms.reprovision() == Reprovision::Reset;
        let Some(last) = last else {
            let twin = self.present_twin(chosen)?;
            self.write(chosen, twin)?;
            return Ok(Substatus::InitialAssignment);
        };
        if resets {
            if last != chosen {
                devices::delete(self.db, &last.hub, &last.device)?;
            }
            self.write(chosen, None)?;
            return Ok(Substatus::DeviceDataReset);
        }
        if last == chosen {
            let twin = self.present_twin(chosen)?;
            self.write(chosen, twin)?;
            return Ok(Substatus::ReprovisionedToInitialAssignment);
        }
        let twin = self.present_twin(last)?;
        devices::delete(self.db, &last.hub, &last.device)?;
        self.write(chosen, twin)?;
        Ok(Substatus::DeviceDataMigrated)
    }

    fn present_twin(&self, assignment: &Assignment) -> Result<Option<Twin>, StoreError> {
        let device = devices::get(self.db, &assignment.hub, &assignment.device)?;
        Ok(device.map(|device| device.twin))
    }

    fn write(&self, chosen: &Assignment, twin: Option<Twin>) -> Result<(), StoreError> {
        let present = devices::get(self.db, &chosen.hub, &chosen.device)?;
        let (generation, status, status_reason, status_changed) = match present {
            // An operator's "disabled" outlives a registration.
            Some(device) => (
                device.generation,
                device.document.status,
                device.document.status_reason,
                device.document.status_changed,
            ),
            None => (tokens::generation_id(self.now), DeviceStatus::Enabled, None, None),
        };
        devices::put(
            self.db,
            &Device {
                hub: chosen.hub.clone(),
                id: chosen.device.clone(),
                generation,
                etag: tokens::short_etag()?,
                document: DeviceDocument {
                    status,
                    status_reason,
                    status_changed,
                    authentication: self.admitted.authentication.clone(),
                    iot_edge: self.admitted.terms.iot_edge(),
                },
                twin: twin.unwrap_or_else(|| self.initial_twin()),
                connected: false,
                connection_changed: None,
                last_activity: None,
            },
        )
    }

    fn initial_twin(&self) -> Twin {
        let initial = self.admitted.terms.initial_twin();
        Twin {
            tags: initial.tags(),
            desired: initial.desired(),
            reported: Map::new(),
            desired_version: 1,
            reported_version: 1,
            version: 2,
            updated: self.stamp.to_owned(),
        }
    }
}
