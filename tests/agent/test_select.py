import pytest
from starlette.datastructures import QueryParams

from filament.agent.select import parse_wanted
from filament.base.errors import InputError

RECORD = {
    "vif": 3,
    "vrf": "default-domain:demo:red:red",
    "protocol": 6,
    "denied": False,
    "source": "10.1.1.3",
    "source_port": 40000,
    "source_interface": "default-domain:demo:red-1-port",
    "source_workload": "red-1",
    "source_network": "default-domain:demo:red",
    "destination": "2001:db8::4",
    "destination_port": 443,
    "destination_interface": "",
    "destination_workload": "",
    "destination_network": "default-domain:demo:blue",
}


def admits(query, **changed):
    return parse_wanted(QueryParams(query)).admits(RECORD | changed)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "vrf=red",
        "vrf=default-domain:demo:red",
        "vrf=default-domain:demo:red:red",
        "from=red-1",
        "from=red-1-port",
        "from=default-domain:demo:red-1-port",
        "from=10.1.1.3",
        "from=10.1.0.0/16",
        "from=red",
        "from=nobody&from=red-1",
        "to=2001:db8::4",
        "to=2001:db8::/32",
        "to=blue",
        "port=443",
        "port=40000&port=1",
        "proto=tcp",
        "proto=6",
        "vif=3",
        "denied=0",
        "from=red-1&to=blue&port=443&proto=tcp&vrf=red",
    ],
)
def test_what_fits_is_admitted(query):
    assert admits(query)


@pytest.mark.parametrize(
    "query",
    [
        "vrf=blue",
        "vrf=demo",
        "from=blue",
        "from=10.1.1.4",
        "from=10.2.0.0/16",
        "from=::/0",
        "from=demo",
        "from=default-domain:demo",
        "to=10.0.0.0/8",
        "to=red-1",
        "port=80",
        "proto=udp",
        "proto=icmp",
        "vif=4",
        "denied=1",
        "from=red-1&to=red",
    ],
)
def test_what_does_not_fit_is_not(query):
    assert not admits(query)


def test_icmp_is_that_of_either_version():
    assert admits("proto=icmp", protocol=1)
    assert admits("proto=ICMP", protocol=58)


def test_denied_ones_are_admitted_when_only_they_are_wanted():
    assert admits("denied=1", denied=True)


def test_what_is_known_at_once_rules_out_no_more_than_the_rest():
    wanted = parse_wanted(QueryParams("port=443&proto=tcp"))
    assert wanted.may_admit(6, (1, 443))
    assert not wanted.may_admit(17, (1, 443))
    assert not wanted.may_admit(6, (1, 2))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("port=http", "port is 'http'; write a number 0-65535"),
        ("port=65536", "port is '65536'; write a number 0-65535"),
        ("proto=tpc", "proto is 'tpc'; write icmp, tcp, udp, sctp or a number 0-255"),
        ("denied=maybe", "denied is 'maybe'; write 1 or 0"),
    ],
)
def test_mistakes_say_what_would_be_right(query, text):
    with pytest.raises(InputError, match=text):
        parse_wanted(QueryParams(query))
