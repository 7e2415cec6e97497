//! How big a generated cluster is.

/// The size of a cluster and of its policies. Equal shapes generate equal bytes.
///
/// Every field but `seed` has a least value, below which it is raised: four apps per namespace (so that an
/// app has peers), one of everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Namespaces, `kube-system` and `monitoring` included.
    pub namespaces: usize,
    /// Apps in each namespace; each is one distinct label set.
    pub apps_per_namespace: usize,
    /// Pods of each app, all with equal labels.
    pub replicas: usize,
    /// Policies of all kinds, each in its own file.
    pub policies: usize,
    /// Distinct address prefixes outside the cluster from which CIDR rules choose.
    pub external_prefixes: usize,
    /// Chooses everything else: names, peers, ports.
    pub seed: u64,
}

impl Default for Shape {
    /// 10,000 pods in 1,000 distinct label sets, under 1,053 policies.
    fn default() -> Self {
        Self::pods(10_000)
    }
}

impl Shape {
    /// A cluster of `pods` pods, ten to each label set, under 1,053 policies. Exact for multiples of 100 up to
    /// 5,000, of 250 up to 20,000, of 500 above; otherwise the next larger cluster.
    pub fn pods(pods: usize) -> Self {
        let apps_per_namespace = match pods {
            0..=5_000 => 10,
            5_001..=20_000 => 25,
            _ => 50,
        };
        let replicas = 10;
        Self {
            namespaces: pods.div_ceil(apps_per_namespace * replicas).max(1),
            apps_per_namespace,
            replicas,
            policies: 1_053,
            external_prefixes: 200,
            seed: 1,
        }
    }

    /// The cluster of 10,000 pods under `policies` policies.
    pub fn policies(policies: usize) -> Self {
        Self { policies, ..Self::default() }
    }

    /// Pods in the cluster.
    pub fn pod_count(&self) -> usize {
        let shape = self.raised();
        shape.namespaces * shape.apps_per_namespace * shape.replicas
    }

    /// The shape with every field at its least value or above.
    pub(crate) fn raised(&self) -> Self {
        Self {
            namespaces: self.namespaces.max(1),
            apps_per_namespace: self.apps_per_namespace.max(4),
            replicas: self.replicas.max(1),
            policies: self.policies.max(1),
            external_prefixes: self.external_prefixes.max(1),
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_shapes_have_the_size_they_say() {
        for pods in [1_000, 10_000, 100_000] {
            let shape = Shape::pods(pods);
            assert_eq!(shape.pod_count(), pods);
            assert_eq!(shape.namespaces * shape.apps_per_namespace, pods / 10);
            assert_eq!(shape.policies, 1_053);
        }
        for policies in [100, 1_000, 10_000] {
            assert_eq!(Shape::policies(policies).policies, policies);
            assert_eq!(Shape::policies(policies).pod_count(), 10_000);
        }
    }
}
