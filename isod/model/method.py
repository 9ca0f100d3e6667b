"""The table of methods: names, parameters, results, and whether a call changes anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from . import isolation, notice, reply, request, reset


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the protocol. ``mutates``: as a notification it does nothing. ``carries``:
    its reply may carry fds, so it is refused inside a batch, and so is what is ``slow``: both are
    answered when they are done. ``admin``: for the admin socket alone. ``summary`` stands in the
    OpenRPC document."""

    name: str
    params: type[request.Params]
    result: type[BaseModel] | None
    summary: str
    mutates: bool = False
    carries: bool = False
    slow: bool = False
    admin: bool = False


_ALL = (
    Method("hello", request.Hello, reply.HelloResult, "Agree on the protocol."),
    Method("host.info", request.NoParams, reply.HostInfo, "What this host and kernel offer."),
    Method("host.devices", request.Page, reply.DevicePage, "List devices."),
    Method("host.groups", request.Page, reply.GroupPage, "List IOMMU groups."),
    Method(
        "host.isolation",
        request.OneDevice,
        isolation.IsolationInfo,
        "Explain a device's group, and what its isolation is worth.",
    ),
    Method(
        "host.reset_set",
        request.OneDevice,
        reset.ResetSetInfo,
        "Show what a hot reset of a device hits, and what is in its way.",
    ),
    Method(
        "lease.explain",
        request.Acquire,
        reply.ExplainResult,
        "Show what acquire would decide and do; changes and opens nothing.",
    ),
    Method(
        "lease.acquire",
        request.Acquire,
        reply.AcquireResult,
        "Get devices: whole groups or nothing.",
        mutates=True,
        carries=True,
    ),
    Method(
        "lease.open",
        request.OwnLease,
        reply.AcquireResult,
        "Get fresh fds of one's own lease, once the former ones are closed.",
        mutates=True,
        carries=True,
    ),
    Method("lease.release", request.OwnLease, reply.LeaseResult, "End a lease.", mutates=True),
    Method("lease.list", request.Page, reply.LeasePage, "List one's own leases."),
    Method("lease.get", request.LeaseName, reply.LeaseResult, "Look at one's own lease."),
    Method(
        "events.subscribe",
        request.Subscribe,
        notice.Subscribed,
        "Be told what happens, by notifications of the method event.",
    ),
    Method(
        "events.unsubscribe",
        request.SubscriptionName,
        notice.Unsubscribed,
        "End a subscription of this connection.",
    ),
    Method("rpc.discover", request.NoParams, None, "This document."),
    Method("admin.leases", request.Page, reply.LeasePage, "List everybody's leases.", admin=True),
    Method(
        "admin.revoke",
        request.RevokeLease,
        reply.RevokeResult,
        "Take a lease back, as its rule says.",
        mutates=True,
        admin=True,
    ),
    Method(
        "admin.reload",
        request.NoParams,
        reply.Reloaded,
        "Read the policy anew; on any fault the old one stays.",
        mutates=True,
        slow=True,
        admin=True,
    ),
    Method(
        "quarantine.list",
        request.NoParams,
        reply.Quarantines,
        "List the devices that are given to nobody.",
        admin=True,
    ),
    Method(
        "quarantine.set",
        request.SetQuarantine,
        reply.Quarantines,
        "Give a device, and so its group, to nobody any more.",
        mutates=True,
        admin=True,
    ),
    Method(
        "quarantine.clear",
        request.ClearQuarantine,
        reply.Quarantines,
        "Trust a device again.",
        mutates=True,
        admin=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def openrpc(version: str) -> dict[str, Any]:
    """The OpenRPC 1.3 document of the protocol, built from the models."""
    schemas: dict[str, Any] = {}

    def schema(model: type[BaseModel], mode: str) -> dict[str, str]:
        document = model.model_json_schema(
            ref_template="#/components/schemas/{model}",
            mode="validation" if mode == "params" else "serialization",
        )
        for name, definition in document.pop("$defs", {}).items():
            schemas[name] = definition
        schemas[model.__name__] = document
        return {"$ref": f"#/components/schemas/{model.__name__}"}

    methods = []
    for method in _ALL:
        schema(method.params, "params")
        properties = method.params.model_json_schema(ref_template="#/components/schemas/{model}")
        required = properties.get("required", [])
        methods.append(
            {
                "name": method.name,
                "summary": method.summary,
                "paramStructure": "by-name",
                "params": [
                    {"name": name, "required": name in required, "schema": part}
                    for name, part in properties.get("properties", {}).items()
                ],
                "result": {
                    "name": "result",
                    "schema": schema(method.result, "result") if method.result else {},
                },
                "x-carries-fds": method.carries,
                "x-admin": method.admin,
            }
        )
    return {
        "openrpc": "1.3.2",
        "info": {"title": "isod", "version": version},
        "methods": methods,
        "x-notifications": [{"name": "event", "params": schema(notice.Notice, "result")}],
        "components": {"schemas": schemas},
    }
