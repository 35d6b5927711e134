"""What rules ask for besides passing or denying is kept as it was written, for later."""

from filament.testing.sim.api import SimApi
from filament.testing.sim.schedule import Schedule


def test_logs_alerts_and_mirrors_are_kept():
    actions = {
        "simple_action": "pass",
        "log": True,
        "alert": True,
        "mirror_to": {"analyzer_name": "default-domain:demo:tap", "udp_port": 8099},
    }
    api = SimApi(Schedule(1))
    api.create("project", ["default-domain", "demo"], parent_type="domain")
    rule = {
        "direction": "<>",
        "protocol": "tcp",
        "src_addresses": [{"virtual_network": "local"}],
        "dst_addresses": [{"virtual_network": "any"}],
        "action_list": actions,
    }
    made = api.create(
        "network-policy",
        ["default-domain", "demo", "mirrored"],
        network_policy_entries={"policy_rule": [rule]},
    )
    assert api.engine is not None
    kept = api.engine.snapshot.get(made.uuid)
    assert kept is not None
    (stored,) = kept.props["network_policy_entries"]["policy_rule"]
    assert {key: stored["action_list"][key] for key in actions} == actions
