//! Objects that the tests of this module print.

use serde_json::json;

use super::Ctx;
use crate::api::{
    Image, Instance, InstanceType, LoadBalancer, Network, Object, PortForward, Secret, Snapshot,
    Timestamp, Volume,
};

pub(in crate::output) const PASSWORD: &str = "hunter2-do-not-print";

/// 2024-05-01T12:00:00Z, two hours after the samples were made.
pub(in crate::output) fn ctx() -> Ctx {
    Ctx {
        now: Timestamp::from_second(1_714_564_800),
    }
}

pub(in crate::output) fn instance(name: &str) -> Instance {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Instance",
        "metadata": {
            "name": name,
            "labels": {"app": "shop", "tier": "web"},
            "uid": "7f3a9c2e-0000-4000-8000-000000000001",
            "creationTimestamp": "2024-05-01T10:00:00Z",
        },
        "spec": {
            "image": "debian-12",
            "type": "t2.micro",
            "disk": "8Gi",
            "networks": [{"name": "default"}],
            "env": [{"name": "GREETING", "value": "hello"}],
            "ports": ["8080:80"],
        },
        "status": {
            "phase": "Running",
            "managed": true,
            "address": "192.168.122.201",
            "addresses": [{
                "address": "192.168.122.201",
                "network": "default",
                "mac": "52:54:00:12:34:56",
                "source": "reservation",
            }],
            "conditions": [{"type": "Ready", "status": "True", "reason": "CloudInitDone"}],
            "accelerator": "tcg",
            "cpus": 1,
            "memory": "1Gi",
        },
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn bare_instance(name: &str) -> Instance {
    let value = json!({
        "apiVersion": "kvmctl/v1", "kind": "Instance", "metadata": {"name": name}, "spec": {},
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn image(name: &str) -> Image {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Image",
        "metadata": {"name": name, "creationTimestamp": "2024-04-29T12:00:00Z"},
        "spec": {"url": "https://cloud.example/debian-12.qcow2", "defaultUser": "debian"},
        "status": {
            "cached": true,
            "sha256": "aa".repeat(32),
            "format": "qcow2",
            "architecture": "x86_64",
            "firmware": "bios",
            "virtualSize": "2Gi",
            "size": "333333333",
            "usedBy": ["web", "db"],
        },
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn network(name: &str) -> Network {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Network",
        "metadata": {
            "name": name,
            "uid": "1a2b3c4d-0000-4000-8000-000000000001",
            "creationTimestamp": "2024-05-01T10:00:00Z",
        },
        "spec": {"cidr": "10.10.0.0/24"},
        "status": {
            "phase": "Active",
            "managed": true,
            "mode": "nat",
            "bridge": "kvm-1a2b3c4d",
            "cidr": "10.10.0.0/24",
            "gateway": "10.10.0.1",
            "dnsDomain": "blue.internal",
            "autostart": true,
            "dynamicRange": "10.10.0.2-10.10.0.9",
            "slots": {"used": 1, "total": 245},
            "attached": [{
                "domain": "web", "managed": true, "running": true,
                "mac": "52:54:00:12:34:56", "address": "10.10.0.10", "device": "vnet0",
            }],
            "reservations": [{
                "address": "10.10.0.10", "mac": "52:54:00:12:34:56", "holder": "instance/web",
            }],
            "leases": [{
                "address": "10.10.0.10", "mac": "52:54:00:12:34:56", "hostname": "web",
                "expires": "2024-05-01T13:00:00Z",
            }],
            "firewall": {"backend": "iptables", "libvirtRules": "Present"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Active"}],
        },
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn volume(name: &str) -> Volume {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Volume",
        "metadata": {
            "name": name,
            "uid": "1a2b3c4d-5e6f-4000-8000-000000000002",
            "creationTimestamp": "2024-05-01T10:00:00Z",
        },
        "spec": {"size": "100Gi", "format": "qcow2"},
        "status": {
            "phase": "InUse",
            "managed": true,
            "capacity": "100Gi",
            "allocation": "3Gi",
            "format": "qcow2",
            "pool": "default",
            "volume": "data.1a2b3c4d.qcow2",
            "path": "/pool/data.1a2b3c4d.qcow2",
            "serial": "1a2b3c4d5e6f40008000",
            "attachedTo": [
                {"domain": "web", "managed": true, "running": true, "target": "vdb"},
            ],
        },
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn snapshot(name: &str) -> Snapshot {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Snapshot",
        "metadata": {
            "name": name,
            "uid": "1a2b3c4d-5e6f-4000-8000-000000000003",
            "creationTimestamp": "2024-05-01T10:00:00Z",
        },
        "spec": {"instance": "web", "description": "before the upgrade"},
        "status": {
            "phase": "Ready",
            "managed": true,
            "source": {
                "kind": "Instance", "name": "web",
                "uid": "1a2b3c4d-5e6f-4000-8000-000000000001",
            },
            "takenAt": "2024-05-01T10:00:01Z",
            "consistency": "filesystem",
            "running": true,
            "frozenMs": 74,
            "memory": false,
            "virtualSize": "100Gi",
            "storedSize": "3Gi",
            "qemuVersion": "10.0.2",
            "disks": [{
                "name": "root", "target": "vda", "format": "qcow2",
                "virtualSize": "100Gi", "storedSize": "3Gi", "sha256": "ab12",
                "incremental": false, "pool": "default",
                "file": "backup.1a2b3c4d.root.snap.qcow2",
                "path": "/pool/backup.1a2b3c4d.root.snap.qcow2",
            }],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Taken"}],
        },
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn instance_type(name: &str) -> InstanceType {
    let value = json!({
        "apiVersion": "kvmctl/v1", "kind": "InstanceType", "metadata": {"name": name},
        "spec": {"cpus": 1, "memory": "1Gi", "disk": "8Gi"},
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn secret(name: &str) -> Object {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "Secret",
        "metadata": {"name": name, "creationTimestamp": "2024-05-01T11:59:00Z"},
        "data": {"PASSWORD": PASSWORD, "USER": PASSWORD},
    });
    serde_json::from_value::<Secret>(value).unwrap().into()
}

pub(in crate::output) fn forward(name: &str) -> PortForward {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "PortForward",
        "metadata": {"name": name, "creationTimestamp": "2024-05-01T11:00:00Z"},
        "spec": {"instance": "web", "hostPort": 0, "guestPort": 80},
        "status": {
            "phase": "Stale",
            "reason": "AddressChanged",
            "message": "the rules lead to 192.168.122.9",
            "hostPort": 20080,
            "target": "192.168.122.201",
            "network": "default",
            "backend": "iptables",
            "connections": 2,
            "packets": 18,
        },
    });
    serde_json::from_value(value).unwrap()
}

pub(in crate::output) fn balancer(name: &str) -> LoadBalancer {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "kind": "LoadBalancer",
        "metadata": {"name": name, "creationTimestamp": "2024-05-01T11:00:00Z"},
        "spec": {
            "port": 80,
            "algorithm": "least-conn",
            "targets": [
                {"instance": "web1", "port": 8080, "weight": 3},
                {"instance": "web2", "port": 8080},
                {"instance": "web3", "port": 8080, "backup": true},
            ],
            "http": {"hostnames": ["www.example.com"]},
        },
        "status": {
            "phase": "Degraded",
            "reason": "TargetsDown",
            "message": "2 of 3 targets do not answer",
            "listen": ["0.0.0.0:80", "[::]:80"],
            "healthy": 1,
            "targets": [
                {
                    "instance": "web1", "port": 8080, "source": "Listed", "health": "Healthy",
                    "address": "192.168.122.201:8080", "weight": 3, "latencyMicros": 1250,
                },
                {
                    "instance": "web2", "port": 8080, "source": "Listed", "health": "Unhealthy",
                    "address": "192.168.122.202:8080", "weight": 1, "reason": "Refused",
                    "lastError": "nobody listens",
                },
                {
                    "instance": "web3", "port": 8080, "source": "Listed", "health": "Unresolved",
                    "weight": 1, "backup": true, "reason": "NoAddress",
                    "lastError": "no address of instance \"web3\" is known",
                },
            ],
            "counters": {
                "requests": 120,
                "statuses": {"1xx": 0, "2xx": 118, "3xx": 0, "4xx": 2, "5xx": 0},
                "connections": 3,
            },
        },
    });
    serde_json::from_value(value).unwrap()
}
