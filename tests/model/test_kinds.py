"""The registry: what rows say, what follows from them, and how a misspelt kind is answered."""

import pytest

from filament.base.errors import NotFoundError
from filament.model.kinds import KINDS, kind_named


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_rows_are_consistent(kind):
    for parent in kind.parents:
        assert KINDS[parent].children[f"{kind.field}s"] == kind.name
    for target in kind.references:
        back = KINDS[target].back_references.get(f"{kind.field}_back_refs")
        assert back == (None if target == kind.name else kind.name)
    fields = {*kind.properties, *kind.reference_fields}
    assert set(kind.columns) <= fields | kind.back_references.keys()
    assert kind.system_properties <= kind.properties.keys()
    assert kind.derived_children <= set(kind.children.values())
    assert {"id_perms", "perms2", "annotations", "display_name"} <= kind.properties.keys()


def test_names_are_formed_as_the_api_forms_them():
    policy = KINDS["network-policy"]
    assert policy.collection == "network-policys"
    assert policy.back_references == {
        "virtual_network_back_refs": "virtual-network",
        "security_logging_object_back_refs": "security-logging-object",
    }
    assert KINDS["virtual-DNS"].children == {"virtual_DNS_records": "virtual-DNS-record"}
    assert KINDS["virtual-network"].reference_fields["network_policy_refs"] == "network-policy"
    assert KINDS["project"].children["network_policys"] == "network-policy"
    assert KINDS["virtual-machine"].may_be_root
    assert KINDS["virtual-machine-interface"].real_parents == (
        "virtual-machine",
        "project",
        "virtual-router",
    )


def test_kinds_are_found_dashed_or_underscored_and_misspelt_ones_get_a_hint():
    assert kind_named("virtual_network") is kind_named("virtual-network")
    with pytest.raises(NotFoundError, match="'virtual-netwrk' not found; did you mean virtual-ne"):
        kind_named("virtual-netwrk")
    with pytest.raises(NotFoundError, match="'virtual-network' not found; did you mean virtual-n"):
        KINDS.collected("virtual-network")
    with pytest.raises(NotFoundError, match=r"'zebra' not found$"):
        kind_named("zebra")
