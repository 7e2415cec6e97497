//! 02xx: names that lead to other objects.

super::codes! {
    DUPLICATE_OBJECT = 201, "duplicate-object", Warning, "Two objects of one kind, namespace and name; the last one wins";
    DUPLICATE_FRONTEND = 202, "duplicate-frontend", Warning, "Two services or host ports claim one address, port and protocol";
    SERVICE_WITHOUT_ENDPOINTS = 203, "service-without-endpoints", Note, "A service for which no EndpointSlice is given and no pod is known";
}
