//! What comes next for a Deployment that is to run an image. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

/// Of a Deployment: the last order that was carried out on it.
pub const ORDER: &str = "wallet/order";

pub struct Rollout<'a> {
    /// Of our process.
    pub container: &'a str,
    pub image: &'a str,
    pub order: u64,
}

#[derive(Debug, PartialEq)]
pub enum Step {
    /// A strategic merge patch, which is refused if the Deployment has changed since.
    Change(Value),
    /// Until Kubernetes has done its part, and what of it is missing.
    Wait(String),
    Done,
    Failed(String),
    /// A later order was carried out.
    Outdated(u64),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    generation: i64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    replicas: u32,
    template: Template,
}

#[derive(Debug, Deserialize)]
struct Template {
    spec: PodSpec,
}

#[derive(Debug, Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: i64,
    replicas: u32,
    updated_replicas: u32,
    ready_replicas: u32,
    available_replicas: u32,
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

impl Rollout<'_> {
    pub fn next(&self, deployment: &Deployment) -> Result<Step, String> {
        let Deployment { metadata, spec, status } = deployment;
        let carried_out = match metadata.annotations.get(ORDER) {
            Some(text) => text.parse::<u64>().map_err(|_| format!("its annotation {ORDER} is no number: {text}"))?,
            None => 0,
        };
        if carried_out > self.order {
            return Ok(Step::Outdated(carried_out));
        }
        let container = spec.template.spec.containers.iter().find(|one| one.name == self.container);
        let container = container.ok_or_else(|| format!("it has no container {}", self.container))?;
        if container.image != self.image || carried_out < self.order {
            return Ok(Step::Change(json!({
                "metadata": {
                    "resourceVersion": metadata.resource_version,
                    "annotations": { ORDER: self.order.to_string() },
                },
                "spec": { "template": { "spec": { "containers": [{ "name": self.container, "image": self.image }] } } },
            })));
        }
        // What is said of an earlier generation is about the image before.
        if status.observed_generation < metadata.generation {
            return Ok(Step::Wait("the change is not noticed yet".to_owned()));
        }
        let counts = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
        if counts == [spec.replicas; 4] {
            return Ok(Step::Done);
        }
        let stuck = status.conditions.iter().find(|one| one.r#type == "Progressing" && one.status == "False");
        Ok(match stuck {
            Some(condition) => Step::Failed(condition.message.clone()),
            None => Step::Wait(format!(
                "of {} pods, {} have the image, {} are ready, {} stay ready, and there are {} in all",
                spec.replicas, counts[1], counts[2], counts[3], counts[0]
            )),
        })
    }
}
