//! Prints the configuration in force.

use crate::Settings;

impl Settings {
    /// Returns the configuration in force as TOML, with defaults and environment applied. Every secret is shown as
    /// `***`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = toml::Value::try_from(self).and_then(|value| toml::to_string_pretty(&value));
        text.unwrap_or_else(|error| format!("# the configuration cannot be shown: {error}\n"))
    }
}
