//! The order of objects: what others refer to is made first and deleted last.

use crate::api::{Kind, Object};

/// Sorts objects into levels; a level may be worked on in parallel once the one before it is done.
///
/// The order is that of [`Kind`]: secrets, types, images, instances, forwards, balancers.
pub fn levels(mut objects: Vec<Object>) -> Vec<Vec<Object>> {
    objects.sort_by_key(Object::kind);
    let mut levels: Vec<(Kind, Vec<Object>)> = Vec::new();
    for object in objects {
        match levels.last_mut() {
            Some((kind, level)) if *kind == object.kind() => level.push(object),
            _ => levels.push((object.kind(), vec![object])),
        }
    }
    levels.into_iter().map(|(_, level)| level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{API_VERSION, InstanceSpec, Name, ObjectMeta, Secret, built_in_types};

    #[test]
    fn what_is_referred_to_comes_first_whatever_the_order_of_the_documents() {
        let instance = crate::api::Instance {
            api_version: API_VERSION.into(),
            kind: "Instance".into(),
            metadata: ObjectMeta::named(Name::new("web").unwrap()),
            spec: InstanceSpec::default(),
            status: None,
        };
        let secret = Secret {
            api_version: API_VERSION.into(),
            kind: "Secret".into(),
            metadata: ObjectMeta::named(Name::new("s").unwrap()),
            data: Default::default(),
        };
        let size = built_in_types().remove(0);
        let levels = levels(vec![instance.into(), size.into(), secret.into()]);
        let kinds: Vec<Kind> = levels.iter().map(|l| l[0].kind()).collect();
        assert_eq!(kinds, [Kind::Secret, Kind::InstanceType, Kind::Instance]);
    }
}
