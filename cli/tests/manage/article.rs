//! The enrollment group article's own commands, PowerShell and all.

pub(crate) const CERTIFICATES_ARE_READY: &str = r#"
az iot dps certificate list `
--dps-name "my-dps-x509" `
--resource-group "iot-x509-demo-rg" `
--query "value[].{Name:name, Verified:properties.isVerified}" `
-o table"#;

pub(crate) const CREATE: &str = r#"
az iot dps enrollment-group create `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group" `
--ca-name "my-intermediate-ca" `
--provisioning-status enabled"#;

pub(crate) const CREATE_WITH_POLICY: &str = r#"
az iot dps enrollment-group create `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group" `
--ca-name "my-intermediate-ca" `
--provisioning-status enabled `
--allocation-policy "hashed""#;

pub(crate) const CREATE_WITH_TWIN: &str = r#"
az iot dps enrollment-group create `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group" `
--ca-name "my-intermediate-ca" `
--provisioning-status enabled `
--initial-twin-properties "twin-config.json""#;

pub(crate) const SHOW: &str = r#"
az iot dps enrollment-group show `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group""#;

pub(crate) const LIST: &str = r#"
az iot dps enrollment-group list `
--dps-name $dpsName `
--resource-group $resourceGroup `
--query "[].{EnrollmentID:enrollmentGroupId, CA:attestation.x509.caReferences.primary, Status:provisioningStatus}" `
-o table"#;

pub(crate) const DISABLE: &str = r#"
az iot dps enrollment-group update `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group" `
--provisioning-status disabled"#;

/// "To revoke access", option 1, which names no group.
pub(crate) const REVOKE: &str = r#"
az iot dps enrollment-group update --provisioning-status disabled"#;

pub(crate) const CHANGE_POLICY: &str = r#"
az iot dps enrollment-group update `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group" `
--allocation-policy "geolatency""#;

pub(crate) const SENSORS: &str = r#"
az iot dps enrollment-group create `
--enrollment-id "sensor-devices" `
--ca-name "my-intermediate-ca" "#;

pub(crate) const GATEWAYS: &str = r#"
az iot dps enrollment-group create `
--enrollment-id "gateway-devices" `
--ca-name "my-intermediate-ca" "#;

pub(crate) const CUSTOMER_A: &str = r#"
az iot dps enrollment-group create `
--enrollment-id "customer-a-devices" `
--ca-name "customer-a-intermediate-ca" "#;

pub(crate) const REGISTRATIONS: &str = r#"
az iot dps enrollment-group registration list `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group""#;

pub(crate) const BLACKLIST: &str = r#"
az iot dps enrollment create --enrollment-id "device-001" --attestation-type x509 --provisioning-status disabled"#;

pub(crate) const CERTIFICATES: &str =
    "az iot dps certificate list --dps-name $dpsName --resource-group $resourceGroup";

pub(crate) const SHOW_AS_JSON: &str = r#"
az iot dps enrollment-group show `
--dps-name $dpsName `
--resource-group $resourceGroup `
--enrollment-id "my-device-group" `
-o json"#;
