from __future__ import annotations

from typing import Any

import pytest

from substrate.policy.world_settings import network_for, tighten_settings, world_settings
from tests.support.policies import policy

DOMAINS = "net_allowed: [GitHub.com., '*.pypi.org', 'bücher.example:443', '10.0.0.0/8:22']\n"


def test_domains_have_the_form_they_are_asked_for_in() -> None:
    assert policy(DOMAINS + "").allowed_domains() == (
        "github.com",
        "*.pypi.org",
        "xn--bcher-kva.example:443",
        "10.0.0.0/8:22",
    )
    assert policy("net_allowed: [a.org, '*', A.org]\n").allowed_domains() == ("*",)
    assert policy("net_allowed: [a.org, A.org., '[2001:DB8::1]:80']\n").allowed_domains() == (
        "a.org",
        "[2001:db8::1]:80",
    )


def test_a_policy_that_allows_no_domain_allows_no_network() -> None:
    for enforced in (True, False):
        answer = network_for(policy("net_allowed: []\n"), enforced, ())
        assert (answer.mode, answer.refusal, answer.degraded) == ("none", "", ())


def test_a_policy_that_says_nothing_of_domains_leaves_the_network_to_the_bundle() -> None:
    made = policy("")
    answer = network_for(made, enforced=False, allow_degraded=())
    assert (answer.mode, answer.refusal) == ("", "")
    bundle = {"network": {"mode": "pinned", "allowedDomains": ["a.org"]}}
    assert tighten_settings(bundle, world_settings(made, answer)) == {**bundle, "limits": {}}


def test_domains_that_cannot_be_enforced_refuse_the_world() -> None:
    answer = network_for(policy(DOMAINS), enforced=False, allow_degraded=("host-uid-0",))
    assert "none can be enforced" in answer.refusal
    assert "/home/u/policy.yaml:1" in answer.refusal
    assert answer.hint.endswith("--allow-degraded network")
    assert answer.mode == "none"


def test_a_world_that_may_go_without_gets_no_network_at_all() -> None:
    answer = network_for(policy(DOMAINS), enforced=False, allow_degraded=("network",))
    assert (answer.mode, answer.allowed_domains, answer.refusal) == ("none", None, "")
    assert answer.degraded[0][0] == "network"


def test_domains_that_can_be_enforced_are_passed_on() -> None:
    answer = network_for(policy(DOMAINS), enforced=True, allow_degraded=())
    assert answer.mode == "filtered"
    assert answer.allowed_domains is not None
    assert answer.allowed_domains[0] == "github.com"


def test_the_policy_becomes_settings_of_a_bundle() -> None:
    made = policy(
        "fs: {deny: [.env], readonly: [LICENSE], risky: ['*.sql'], expose: [~/.cargo],"
        " hide: [/etc/ssl]}\n"
        "limits: {wall_time: 2m, memory: 1G, open_files: 64}\nnet_allowed: [a.org]\n"
    )
    settings = world_settings(made, network_for(made, enforced=True, allow_degraded=()))
    assert settings == {
        "project": {"deny": [".env"], "readonly": ["LICENSE"], "risky": ["*.sql"]},
        "rootfs": {"expose": ["~/.cargo"], "hide": ["/etc/ssl"]},
        "network": {"mode": "filtered", "allowedDomains": ["a.org"]},
        "limits": {"wallTime": 120, "memory": 1 << 30, "openFiles": 64},
    }


def test_a_bundle_does_not_open_what_the_policy_keeps_closed() -> None:
    made = policy("fs: {deny: [.env]}\nlimits: {memory: 10, pids: 5}\nnet_allowed: []\n")
    settings = world_settings(made, network_for(made, enforced=True, allow_degraded=()))
    bundle = {
        "project": {"path": ".", "deny": ["a"]},
        "network": {"mode": "host", "denied": ["x.org"]},
        "limits": {"memory": 5, "pids": 9, "disk": 7},
        "init": True,
    }
    assert tighten_settings(bundle, settings) == {
        "project": {"path": ".", "deny": ["a", ".env"]},
        "network": {"mode": "none"},
        "limits": {"memory": 5, "pids": 5, "disk": 7},
        "init": True,
    }


@pytest.mark.parametrize("mode", ["filtered", "pinned"])
def test_denied_domains_of_a_bundle_stay_denied(mode: str) -> None:
    made = policy("net_allowed: [a.org]\n")
    settings = world_settings(made, network_for(made, enforced=True, allow_degraded=()))
    bundle = {"network": {"mode": mode, "allowedDomains": ["*"], "denied": ["x.org"]}}
    network = tighten_settings(bundle, settings)["network"]
    assert network["allowedDomains"] == ["a.org"]
    assert network["denied"] == ["x.org"]


@pytest.mark.parametrize(
    ("bundle", "network"),
    [
        ({}, {"mode": "filtered", "allowedDomains": ["*.a.org", "b.org"]}),
        ({"mode": "none"}, {"mode": "none"}),
        ({"mode": "host"}, {"mode": "filtered", "allowedDomains": ["*.a.org", "b.org"]}),
        ({"mode": "pinned"}, {"mode": "pinned", "allowedDomains": ["*.a.org", "b.org"]}),
        (
            {"allowedDomains": ["X.a.org", "c.org"]},
            {"mode": "filtered", "allowedDomains": ["x.a.org"]},
        ),
        ({"allowedDomains": ["*"]}, {"mode": "filtered", "allowedDomains": ["*.a.org", "b.org"]}),
        ({"allowedDomains": []}, {"mode": "filtered", "allowedDomains": []}),
    ],
)
def test_a_world_reaches_what_policy_and_bundle_both_allow(
    bundle: dict[str, Any], network: dict[str, Any]
) -> None:
    made = policy("net_allowed: ['*.a.org', b.org]\n")
    settings = world_settings(made, network_for(made, enforced=True, allow_degraded=()))
    assert tighten_settings({"network": bundle}, settings)["network"] == network
