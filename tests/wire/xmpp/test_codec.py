import contextlib
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_CONTROL_STANZA_BYTES
from filament.base.net import Prefix, mask_of
from filament.base.origin import Origin
from filament.wire.xmpp import codec
from filament.wire.xmpp.codec import (
    AgentDecoder,
    decode_from_control,
    encode_from_agent,
    encode_from_control,
    split_stanza,
)
from filament.wire.xmpp.quick import START, read_quickly
from filament.wire.xmpp.quick_routes import END as ROUTES_END
from filament.wire.xmpp.quick_routes import START as ROUTES_START
from filament.wire.xmpp.quick_routes import read_routes
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    NO_ADDRESS,
    ConfigRefused,
    ConfigSent,
    ConfigSubscribed,
    ConfigUnsubscribed,
    EndOfRib,
    InstanceSubscribed,
    InstanceUnsubscribed,
    Link,
    MacKey,
    NextHop,
    Node,
    RouteItem,
    RoutePublished,
    RouteRetracted,
    RoutesSent,
    Sync,
    Synced,
    TableFamily,
)
from filament.wire.xmpp.stream import Element, Known, StreamOpened, XmlStream

HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:f='urn:filament'"
    b" xmlns:stream='http://etherx.jabber.org/streams'>"
)


def elements(xml: bytes) -> list[Element]:
    return [event for event in XmlStream(1 << 30).feed(HEADER + xml) if isinstance(event, Element)]


def from_agent(xml: bytes):
    decoder = AgentDecoder()
    return [stanza for each in elements(xml) if (stanza := decoder.decode(each)) is not None]


def from_control(xml: bytes):
    return [decode_from_control(each) for each in elements(xml)]


def tagless(key):
    return MacKey(key.mac, key.address)


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12)
names = words.filter(lambda text: text.strip() and text != "unresolved")
kinds = st.sampled_from(["virtual-router", "virtual-machine"])
u32 = st.integers(0, 2**32 - 1)
prefixes = st.builds(
    lambda address, length: Prefix(address & mask_of(length), length), u32, st.integers(0, 32)
)
prefixes6 = st.builds(
    lambda address, length: Prefix(address & mask_of(length, 6), length, 6),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
hosts = st.just(NO_ADDRESS) | st.builds(Prefix.host, u32)
hosts |= st.builds(Prefix.host, st.integers(0, 2**128 - 1), st.just(6))
mac_keys = st.one_of(
    st.builds(MacKey, st.integers(1, 2**48 - 2), hosts, u32),
    st.builds(MacKey, st.just(BROADCAST_MAC), st.builds(Prefix.host, u32), u32),
    st.builds(MacKey, st.just(0), prefixes | prefixes6, u32),
)
destinations = {
    TableFamily.INET: prefixes,
    TableFamily.INET6: prefixes6,
    TableFamily.ENET: mac_keys,
}
origins = st.builds(Origin, words, words, st.integers(0, 2**40))
hops = st.builds(
    NextHop,
    address=u32,
    label=st.integers(0, 2**24 - 1),
    network=st.just("") | names,
    encapsulations=st.lists(st.sampled_from(["udp", "gre", "vxlan"]), max_size=3).map(tuple),
    mac=st.integers(0, 2**48 - 1),
    vni=st.integers(0, 2**24 - 1),
    tags=st.lists(u32, max_size=2).map(tuple),
)
shared = {
    "local_preference": u32,
    "med": u32,
    "sequence": u32,
    "is_sticky": st.booleans(),
    "security_groups": st.lists(u32, max_size=3).map(tuple),
    "communities": st.lists(st.sampled_from(["no-advertise", "64512:7"]), max_size=2).map(tuple),
    "load_balance": st.none() | st.just(("l3-source-address", "ip-protocol")),
    "origin": origins,
}
agent_stanzas = st.one_of(
    st.builds(ConfigSubscribed, kinds, names),
    st.builds(ConfigUnsubscribed, kinds, names),
    st.builds(InstanceSubscribed, names, u32),
    st.builds(InstanceUnsubscribed, names),
    st.builds(
        RoutePublished,
        instance=names,
        destination=prefixes | prefixes6 | mac_keys,
        next_hop=hops,
        sub_protocol=st.sampled_from(["interface", "interface-static", ""]),
        **shared,
    ),
    st.builds(RouteRetracted, names, prefixes | prefixes6 | mac_keys.map(tagless)),
    st.just(EndOfRib()),
    st.builds(Synced, u32, u32),
)


def routes_sent(family):
    """Routes of one table."""
    items = st.builds(
        RouteItem,
        destination=destinations[family],
        next_hops=st.lists(hops, max_size=3).map(tuple),
        network=st.just("") | names,
        flood=st.lists(hops, max_size=2).map(tuple),
        **shared,
    )
    return st.builds(
        RoutesSent,
        names,
        st.lists(items, max_size=4).map(tuple),
        st.lists(destinations[family], max_size=4).map(tuple),
        st.just(family),
    )


links = st.builds(Link, words, words, words, words, words)
nodes = st.builds(
    Node,
    words,
    words,
    st.dictionaries(
        st.sampled_from(["name", "uuid", "display_name", "id_perms", "value", "x-y"]),
        words | st.integers() | st.booleans() | st.lists(st.integers(), max_size=3),
        max_size=4,
    ),
    st.integers(0, 2**40),
)
control_stanzas = st.one_of(
    st.sampled_from(TableFamily).flatmap(routes_sent),
    st.builds(
        ConfigSent,
        st.lists(nodes, max_size=3).map(tuple),
        st.lists(links, max_size=3).map(tuple),
        st.lists(st.tuples(words, words), max_size=3).map(tuple),
        st.lists(links, max_size=3).map(tuple),
    ),
    st.builds(ConfigRefused, kinds, names, words),
    st.just(EndOfRib()),
    st.builds(Sync, u32, u32, st.booleans()),
)


@given(st.lists(agent_stanzas, max_size=4))
def test_what_an_agent_says_arrives(stanzas):
    xml = b"".join(encode_from_agent(each, "host1", n) for n, each in enumerate(stanzas))
    assert from_agent(xml) == stanzas


@given(control_stanzas)
def test_what_a_control_node_says_arrives_in_its_parts(stanza):
    xml = encode_from_control(stanza, "host1", 1)
    parts = list(split_stanza(stanza))
    assert [decode_from_control(each) for each in elements(b"".join(xml))] == parts


def test_routes_that_fit_into_a_message_are_encoded_once_for_all():
    small = RoutesSent("r", (RouteItem(Prefix(1, 32), ()),))
    (part,) = split_stanza(small)
    assert part is small, "a copy would be hashed, and encoded, again for each agent"
    both = RoutesSent("r", (RouteItem(Prefix(1, 32), ()),), (Prefix(2, 32),))
    assert [bool(part.items) for part in split_stanza(both)] == [False, True]
    assert not list(split_stanza(RoutesSent("r")))


def test_tf_limits_per_message():
    routes = tuple(RouteItem(Prefix(n, 32), ()) for n in range(70))
    parts = list(split_stanza(RoutesSent("r", routes, tuple(Prefix(n, 32) for n in range(300)))))
    assert [(len(part.items), len(part.retracted)) for part in parts] == [
        (0, 256),
        (0, 44),
        (32, 0),
        (32, 0),
        (6, 0),
    ]
    config = ConfigSent(
        nodes=tuple(Node("k", str(n)) for n in range(17)),
        deleted_nodes=(("k", "x"),),
        deleted_links=(Link("a", "b", "c", "d", "e"),),
        links=(Link("a", "b", "c", "d", "f"),),
    )
    counts = [
        (len(part.deleted_links), len(part.deleted_nodes), len(part.nodes), len(part.links))
        for part in split_stanza(config)
    ]
    assert counts == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 16, 0), (0, 0, 1, 0), (0, 0, 0, 1)]


def test_big_objects_are_sent_apart():
    big = "x" * (MAX_CONTROL_STANZA_BYTES // 3)
    config = ConfigSent(nodes=tuple(Node("k", str(n), {"a": big}) for n in range(8)))
    encoded = encode_from_control(config, "host1", 1)
    assert all(len(xml) <= MAX_CONTROL_STANZA_BYTES for xml in encoded)
    decoded = [
        node for each in elements(b"".join(encoded)) for node in decode_from_control(each).nodes
    ]
    assert tuple(decoded) == config.nodes


def test_the_publish_pair_is_tfs():
    stanza = RoutePublished(
        "default-domain:demo:red:red",
        Prefix.parse("10.1.1.3/32"),
        NextHop(0xAC1E0001, 17, "default-domain:demo:red"),
        origin=Origin("virtual-machine-interface a", "port", 3),
    )
    node = "1/1/default-domain:demo:red:red/10.1.1.3/32"
    assert encode_from_agent(stanza, "host1", 5).decode() == (
        '<iq type="set" from="host1" to="network-control@contrailsystems.com/bgp-peer"'
        ' id="pubsub5"><pubsub xmlns="http://jabber.org/protocol/pubsub">'
        f'<publish node="{node}"><item>'
        '<entry f:object="virtual-machine-interface a" f:rule="port" f:revision="3">'
        "<nlri><af>1</af><safi>1</safi><address>10.1.1.3/32</address></nlri>"
        "<next-hops><next-hop><af>1</af><address>172.30.0.1</address><label>17</label>"
        "<tunnel-encapsulation-list><tunnel-encapsulation>udp</tunnel-encapsulation>"
        "</tunnel-encapsulation-list><virtual-network>default-domain:demo:red</virtual-network>"
        "</next-hop></next-hops><version>1</version>"
        "<virtual-network>default-domain:demo:red</virtual-network>"
        "<sequence-number>0</sequence-number><local-preference>200</local-preference>"
        "<med>0</med><sub-protocol>interface</sub-protocol></entry></item></publish>"
        "</pubsub></iq>"
        '<iq type="set" from="host1" to="network-control@contrailsystems.com/bgp-peer"'
        ' id="collection5"><pubsub xmlns="http://jabber.org/protocol/pubsub">'
        f'<collection node="default-domain:demo:red:red"><associate node="{node}"/>'
        "</collection></pubsub></iq>"
    )


def test_the_shapes_of_other_families_are_tfs():
    mac = MacKey(0x020000000001, Prefix.parse("10.1.1.3/32"))
    hop = NextHop(0xAC1E0001, 5000, encapsulations=("vxlan",))
    text = encode_from_agent(RoutePublished("d:p:n:n", mac, hop), "host1", 1).decode()
    assert '<publish node="25/242/02:00:00:00:00:01,10.1.1.3/32">' in text
    assert (
        "<nlri><af>25</af><safi>242</safi><ethernet-tag>0</ethernet-tag>"
        "<mac>02:00:00:00:00:01</mac><address>10.1.1.3/32</address></nlri>"
    ) in text
    assert '<collection node="d:p:n:n"><associate node="25/242/02:00:00:00:00:01,10' in text
    everybody = MacKey(BROADCAST_MAC, Prefix.parse("0.0.0.0/32"), 5000)
    text = encode_from_agent(RoutePublished("d:p:n:n", everybody, hop), "host1", 1).decode()
    assert 'node="25/242/ff:ff:ff:ff:ff:ff,0.0.0.0/32"' in text
    assert "<ethernet-tag>5000</ethernet-tag>" in text
    assert "<edge-replication-not-supported>true</edge-replication-not-supported>" in text
    sent = RoutesSent("d:p:n:n", (), (msgspec.structs.replace(mac, tag=7),), TableFamily.ENET)
    [xml] = encode_from_control(sent, "host1", 1)
    assert b'<items node="25/242/d:p:n:n"><retract id="7-02:00:00:00:00:01,10.1.1.3/32"/>' in xml
    flood = RouteItem(everybody, flood=(hop,))
    [xml] = encode_from_control(RoutesSent("r", (flood,), (), TableFamily.ENET), "host1", 1)
    assert b"<next-hops></next-hops><olist><next-hop><af>1</af><address>172.30.0.1" in xml
    v6 = RoutePublished("d:p:n:n", Prefix.parse("fd00::3/128"), hop)
    text = encode_from_agent(v6, "host1", 1).decode()
    assert '<publish node="2/1/d:p:n:n/fd00::3/128">' in text
    assert "<nlri><af>2</af><safi>1</safi><address>fd00::3/128</address></nlri>" in text


def test_attributes_beyond_the_next_hop_are_tfs():
    route = RouteItem(
        Prefix.parse("10.1.1.3/32"),
        (NextHop(1, 17, tags=(5, 6), vni=9), NextHop(2, 18, encapsulations=("gre", "vxlan"))),
        med=7,
        sequence=3,
        is_sticky=True,
        security_groups=(8000001, 4),
        communities=("no-advertise",),
        load_balance=("l3-source-address",),
    )
    [xml] = encode_from_control(RoutesSent("r", (route,)), "host1", 1)
    for part in (
        b"<label>17</label><vni>9</vni>",
        b"<tag-list><tag>5</tag><tag>6</tag></tag-list>",
        b'<mobility seqno="3" sticky="true"/><sequence-number>3</sequence-number>',
        b"<security-group-list><security-group>8000001</security-group><security-group>4<",
        b"<community-tag-list><community-tag>no-advertise</community-tag></community-tag-list>",
        b"<local-preference>100</local-preference><med>7</med>",
        b"<load-balance><load-balance-fields><load-balance-field-list>l3-source-address<",
        b"<load-balance-decision>field-hash</load-balance-decision>",
    ):
        assert part in xml
    # TF says what is default in other ways: all the fields, mobility besides the number.
    default = b"<load-balance><load-balance-decision>field-hash</load-balance-decision></load-bal"
    [element] = elements(
        b'<message><event><items node="1/1/r"><item id="10.1.1.3/32"><entry><nlri><address>'
        b'10.1.1.3/32</address></nlri><mobility seqno="4" sticky="false"/>'
        b"<sequence-number>4</sequence-number>" + default + b"ance></entry></item></items></event>"
        b"</message>"
    )
    [item] = decode_from_control(element).items
    assert (item.sequence, item.is_sticky, item.load_balance) == (4, False, None)


def test_the_same_routes_are_encoded_once_for_all_agents():
    sent = RoutesSent("shared", (RouteItem(Prefix(77, 32), (NextHop(1, 2),)),))
    before = codec._encode_routes.cache_info()
    texts = {agent: encode_from_control(sent, agent, 1)[0] for agent in ("host1", "host2")}
    after = codec._encode_routes.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)
    assert texts["host2"] == texts["host1"].replace(b"host1/", b"host2/")


def test_the_other_shapes_are_tfs():
    subscribe = ConfigSubscribed("virtual-router", "default-global-system-config:host1")
    assert encode_from_agent(subscribe, "host1", 1).decode() == (
        '<iq type="set" from="host1" to="network-control@contrailsystems.com/config" id="config1">'
        '<pubsub xmlns="http://jabber.org/protocol/pubsub">'
        '<subscribe node="virtual-router:default-global-system-config:host1"/></pubsub></iq>'
    )
    [retract] = encode_from_control(RoutesSent("r", (), (Prefix(0, 0),)), "host1", 1)
    assert retract.decode() == (
        '<message from="network-control@contrailsystems.com" to="host1/bgp-peer">'
        '<event xmlns="http://jabber.org/protocol/pubsub"><items node="1/1/r">'
        '<retract id="0.0.0.0/0"/></items></event></message>'
    )
    [link] = encode_from_control(
        ConfigSent(links=(Link("virtual-machine", "u", "virtual-router", "g:h", "m"),)), "host1", 7
    )
    assert link.decode() == (
        '<iq type="set" from="network-control@contrailsystems.com" to="host1/config" id="config7">'
        '<config><update><link><node type="virtual-machine"><name>u</name></node>'
        '<node type="virtual-router"><name>g:h</name></node><metadata type="m"/></link></update>'
        "</config></iq>"
    )


IQ = '<iq to="network-control@contrailsystems.com/{}"><pubsub>{}</pubsub></iq>'
ENTRY = "<entry><nlri><address>10.0.0.3/32</address></nlri>{}</entry>"
HOP = "<next-hop><address>1.1.1.1</address><label>{}</label></next-hop>"


def publish(node: str, entry: str, collected: str = "r", verb: str = "associate") -> bytes:
    return (
        IQ.format("bgp-peer", f'<publish node="{node}"><item>{entry}</item></publish>')
        + IQ.format(
            "bgp-peer", f'<collection node="{collected}"><{verb} node="{node}"/></collection>'
        )
    ).encode()


def test_what_tf_agents_say_beyond_us_is_passed_over():
    smet = (
        "<entry><nlri><mac>01:00:5e:01:01:01</mac><address>0.0.0.0/32</address>"
        "<group>224.1.1.1</group><source>0.0.0.0</source></nlri></entry>"
    )
    group = publish("25/242/224.1.1.1,0.0.0.0/32,224.1.1.1,0.0.0.0", smet)
    mcast = publish("1/241/r/255.255.255.255", "<entry/>")
    assert from_agent(group + mcast) == []
    native = publish("1/1/r/10.0.0.3/32/7", ENTRY.format(f"<next-hops>{HOP.format(9)}</next-hops>"))
    assert from_agent(native) == [
        RoutePublished(
            "r",
            Prefix.parse("10.0.0.3/32"),
            NextHop(0x01010101, 9, encapsulations=()),
            local_preference=100,
            sub_protocol="",
        )
    ]
    for table in ("1/241/r", "1/5/r"):
        items = f'<items node="{table}"><item id="x"><entry/></item><retract id="y"/></items>'
        message = f"<message><event>{items}</event></message>".encode()
        assert decode_from_control(elements(message)[0]) is None
    smet = b"0-01:00:5e:01:01:01,0.0.0.0/32,224.1.1.1,0.0.0.0"
    sent = b'<message><event><items node="25/242/r"><retract id="%b"/></items></event></message>'
    [element] = elements(sent % smet)
    assert decode_from_control(element) == RoutesSent("r", family=TableFamily.ENET)


NODE = "1/1/r/10.0.0.3/32"
MAC_IN_NET = (
    "<entry><nlri><mac>02:00:00:00:00:01</mac><address>10.0.0.0/24</address></nlri></entry>"
)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (b"<presence/>", "an agent sent <presence>; expected <iq>"),
        (b"<iq/>", "<iq> has no <pubsub>"),
        (IQ.format("config", "").encode(), "<pubsub> has 0 children; expected one"),
        (
            IQ.format("config", '<subscribe node="x"/>').encode(),
            "'x' names no object; expected KIND:NAME",
        ),
        (
            IQ.format("dns-peer", '<subscribe node="a:b"/>').encode(),
            "<subscribe> to resource 'dns-peer'",
        ),
        (IQ.format("bgp-peer", '<subscribe node="r"/>').encode(), "<subscribe> has no <options>"),
        (IQ.format("bgp-peer", '<publish node="r"/>').encode(), "publish of 'r' has no <item>"),
        (IQ.format("bgp-peer", "<collection/>").encode(), "neither <associate> nor <dissociate>"),
        (
            IQ.format("bgp-peer", '<collection><associate node="q"/></collection>').encode(),
            "collection of 'q' follows publish of nothing",
        ),
        (publish("1/1/r", "<entry/>"), "<entry> has no <nlri>"),
        (publish("1/1/r", ENTRY), "publish of '1/1/r' carries an entry for 10.0.0.3/32"),
        (publish("junk", "<entry/>"), "'junk' is no table or route; expected AFI/SAFI/INSTANCE"),
        (publish(NODE, ENTRY.replace("/32", "/24")), "did you mean 10.0.0.0/24?"),
        (publish("2/1/r/10.0.0.3/32", ENTRY), "10.0.0.3/32 is in a table of family 2/1"),
        (publish("25/242/x", "<entry><nlri><mac>x</mac></nlri></entry>"), "'x' is not a MAC"),
        (publish("25/242/x", MAC_IN_NET), "02:00:00:00:00:01 goes with 10.0.0.0/24; expected one"),
        (
            publish(NODE, ENTRY.format(f"<next-hops>{HOP.format(1) * 1025}</next-hops>")),
            "<next-hops> lists 1025; at most 1024 are accepted",
        ),
        (publish(NODE, ENTRY.format("")), "is published with 0 next hops; expected one"),
        (publish(NODE, ENTRY.format(""), collected="s"), "is collected into 's'"),
        (publish("1/1/r/10.0.0.4/32", ENTRY), "carries an entry for 10.0.0.3/32"),
        (
            publish(NODE, ENTRY.format(f"<next-hops>{HOP.format(1 << 24)}</next-hops>")),
            "label is '16777216'; expected a number 0 to 16777215",
        ),
        (b'<iq><synced sequence="-1" revision="0"/></iq>', "sequence is '-1'"),
        (b'<iq><synced sequence="1"/></iq>', "<synced> has no attribute 'revision'"),
    ],
)
def test_nonsense_from_an_agent(xml, text):
    with pytest.raises(ProtocolError) as caught:
        from_agent(xml)
    assert text in caught.value.message
    assert caught.value.condition in {"bad-format", "policy-violation"}


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (b"<iq/>", "<iq> has no <config>"),
        (b"<presence/>", "expected <iq> or <message>"),
        (b"<message/>", "<message> has no <event>"),
        (b'<message><event><items node="1"/></event></message>', "'1' is no table"),
        (
            b'<message><event><items node="1/1/r"><x/></items></event></message>',
            "<items> holds <x>",
        ),
        (b"<iq><config><add/></config></iq>", "<config> holds <add>"),
        (b"<iq><config><update><x/></update></config></iq>", "<update> holds <x>"),
        (b"<iq><config><update><link/></update></config></iq>", "<link> joins 0 nodes"),
        (b'<iq type="error"/>', "<iq> has no <pubsub>"),
    ],
)
def test_nonsense_from_a_control_node(xml, text):
    with pytest.raises(ProtocolError) as caught:
        decode_from_control(elements(xml)[0])
    assert text in caught.value.message


TAGS = [
    "iq", "message", "pubsub", "event", "items", "item", "retract", "publish", "collection",
    "associate", "subscribe", "options", "instance-id", "entry", "nlri", "address", "next-hops",
    "next-hop", "label", "config", "update", "delete", "node", "name", "link", "metadata", "sync",
    "synced", "error", "text", "mac", "sequence-number", "ethernet-tag", "group", "olist", "med",
    "mobility", "security-group-list", "security-group", "load-balance", "load-balance-fields",
]  # fmt: skip
VALUES = [
    "1/1/r/10.0.0.3/32",
    "2/1/r/fd00::/64",
    "25/242/r",
    "02:00:00:00:00:01",
    "7-02:00:00:00:00:01,10.0.0.3/32",
    "0/0/EndOfRib",
    "a:b",
    "10.0.0.3/32",
    "1",
    "x/bgp-peer",
    "x/config",
    "",
]
ATTRIBUTES = [
    "node",
    "to",
    "type",
    "id",
    "sequence",
    "revision",
    "urn:filament type",
    "urn:filament key",
]


def build(tag, attributes, text, children):
    element = Element("", tag, attributes)
    element.text = text
    element.children = children
    return element


shapes = st.recursive(
    st.builds(build, st.sampled_from(TAGS), st.just({}), st.sampled_from(VALUES), st.just([])),
    lambda inner: st.builds(
        build,
        st.sampled_from(TAGS),
        st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES), max_size=3),
        st.sampled_from(VALUES) | st.text(max_size=4),
        st.lists(inner, max_size=3),
    ),
    max_leaves=12,
)


@given(shapes)
def test_decoders_are_total(element):
    for decode in (AgentDecoder().decode, decode_from_control):
        with contextlib.suppress(ProtocolError):
            decode(element)


plain = st.text(st.sampled_from("abcXYZ 0129:_-./()[]"), max_size=20)
quick_published = st.builds(
    RoutePublished,
    instance=plain,
    destination=prefixes,
    next_hop=st.builds(
        NextHop,
        address=u32,
        label=st.integers(0, 2**24 - 1),
        network=plain,
        encapsulations=st.lists(st.sampled_from(["udp", "gre", "vxlan"]), max_size=3).map(tuple),
        mac=st.integers(0, 2**48 - 1),
        tags=st.lists(u32, max_size=3).map(tuple),
    ),
    local_preference=u32,
    med=u32,
    sequence=u32,
    security_groups=st.lists(u32, max_size=3).map(tuple),
    sub_protocol=st.sampled_from(["interface", "interface-static", ""]),
    origin=st.builds(Origin, plain, plain, st.integers(0, 2**40)),
)
quick_stanzas = st.one_of(
    quick_published, st.builds(RouteRetracted, plain, prefixes), st.builds(Synced, u32, u32)
)


def quickly(xml: bytes, *, cuts=()):
    """What a server's session makes of bytes that come in pieces, and how much was read quickly."""
    stream, decoder, found, quick_count = (
        XmlStream(1 << 20, read_quickly, START),
        AgentDecoder(),
        [],
        0,
    )
    edges = [0, *sorted(cuts), len(HEADER + xml)]
    for start, end in itertools.pairwise(edges):
        for event in stream.feed((HEADER + xml)[start:end]):
            if isinstance(event, Known):
                quick_count += 1
                found.append(event.meaning)
            elif isinstance(event, Element):
                found.append(decoder.decode(event))
    return [each for each in found if each is not None], quick_count


@given(st.lists(quick_stanzas, max_size=3))
def test_our_own_pairs_are_read_without_the_parser_and_mean_the_same(stanzas):
    xml = b"".join(encode_from_agent(each, "host1", n) for n, each in enumerate(stanzas))
    assert quickly(xml, cuts=[len(HEADER)]) == (stanzas, len(stanzas))
    assert from_agent(xml) == stanzas


@given(st.lists(agent_stanzas, max_size=5), st.lists(st.integers(0, 4000), max_size=4))
def test_quick_and_parsed_stanzas_mix_whatever_the_pieces(stanzas, cuts):
    xml = b"".join(encode_from_agent(each, "host1", n) for n, each in enumerate(stanzas))
    cuts = [cut for cut in cuts if cut < len(HEADER + xml)]
    assert quickly(xml, cuts=cuts)[0] == stanzas


@pytest.mark.parametrize(
    "change",
    [
        (b"1/1/r/10.0.0.3/32", b"1/1/s/10.0.0.3/32", 1),  # the node is another than collected
        (b"<label>17<", b"<label>99999999<", -1),
        (b"<address>10.0.0.3/32<", b"<address>10.0.0.3/24<", -1),
        (b"10.0.0.3/32", b"10.0.0.3/24", -1),
        (b"10.0.0.3/32", b"10.0.0.300/32", -1),
        (b"<med>0<", b"<med>4294967296<", -1),
        (b"<tag>7<", b"<tag>4294967296<", -1),
        (b'node="r"', b'node="q"', -1),
        (b"associate", b"accumulate", -1),
        (b"<address>1.1.1.1<", b"<address>1.1.1<", -1),
    ],
)
def test_what_is_wrong_is_for_the_parser_to_say(change):
    way = NextHop(0x01010101, 17, tags=(7,))
    stanza = RoutePublished("r", Prefix.parse("10.0.0.3/32"), way)
    xml = encode_from_agent(stanza, "host1", 1)
    assert quickly(xml, cuts=[len(HEADER)]) == ([stanza], 1)
    broken = xml.replace(*change)
    assert read_quickly(broken, 0) is None
    with pytest.raises(ProtocolError) as parsed:
        from_agent(broken)
    with pytest.raises(ProtocolError) as mixed:
        quickly(broken)
    assert mixed.value.message == parsed.value.message


hops = st.builds(
    NextHop,
    address=u32,
    label=st.integers(0, 2**24 - 1),
    network=plain,
    encapsulations=st.lists(st.sampled_from(["udp", "gre", "vxlan"]), max_size=3).map(tuple),
    mac=st.integers(0, 2**48 - 1),
    vni=st.integers(0, 2**24 - 1),
    tags=st.lists(u32, max_size=3).map(tuple),
)
quick_items = st.builds(
    RouteItem,
    destination=prefixes,
    next_hops=st.lists(hops, max_size=3).map(tuple),
    network=plain,
    local_preference=u32,
    med=u32,
    sequence=u32,
    security_groups=st.lists(u32, max_size=3).map(tuple),
    origin=st.builds(Origin, plain, plain, st.integers(0, 2**40)),
)
quick_routes_sent = st.one_of(
    st.builds(
        RoutesSent, plain.filter(bool), st.lists(quick_items, min_size=1, max_size=4).map(tuple)
    ),
    st.builds(
        RoutesSent,
        plain.filter(bool),
        st.just(()),
        st.lists(prefixes, min_size=1, max_size=4).map(tuple),
    ),
)


def routes_quickly(xml, cuts=()):
    """What an agent's session makes of bytes in pieces, and how much was read quickly."""
    stream = XmlStream(1 << 20, read_routes, ROUTES_START, ROUTES_END)
    found, quick_count = [], 0
    for start, end in itertools.pairwise([0, *sorted(cuts), len(HEADER + xml)]):
        for event in stream.feed((HEADER + xml)[start:end]):
            if isinstance(event, Known):
                quick_count += 1
                found.append(event.meaning)
            elif isinstance(event, Element):
                found.append(decode_from_control(event))
    return found, quick_count


@given(st.lists(quick_routes_sent, max_size=3))
def test_our_own_routes_are_read_without_the_parser_and_mean_the_same(stanzas):
    xml = b"".join(x for each in stanzas for x in encode_from_control(each, "host1", 1))
    assert routes_quickly(xml, [len(HEADER)]) == (stanzas, len(stanzas))
    assert from_control(xml) == stanzas


@given(st.lists(control_stanzas, max_size=4), st.lists(st.integers(0, 4000), max_size=4))
def test_quick_and_parsed_routes_mix_whatever_the_pieces(stanzas, cuts):
    xml = b"".join(x for each in stanzas for x in encode_from_control(each, "host1", 1))
    cuts = [cut for cut in cuts if cut < len(HEADER + xml)]
    assert routes_quickly(xml, cuts)[0] == from_control(xml)


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_routes_that_come_in_two_pieces_are_read_quickly_as_well(cut):
    stanza = RoutesSent("r", (RouteItem(Prefix.parse("10.0.0.3/32"), (NextHop(1, 17),)),))
    [xml] = encode_from_control(stanza, "host1", 1)
    cuts = [len(HEADER), len(HEADER) + cut]
    is_told_apart = cut >= len(ROUTES_START)
    assert routes_quickly(xml * 2, cuts) == ([stanza, stanza], 2 if is_told_apart else 1)


def test_what_never_ends_is_not_kept_for_ever():
    [xml] = encode_from_control(RoutesSent("r", (), (Prefix(0, 0),)), "host1", 1)
    stream = XmlStream(1 << 20, read_routes, ROUTES_START, ROUTES_END)
    list(stream.feed(HEADER))
    assert list(stream.feed(xml.partition(b"</items>")[0])) == []
    assert stream.inside_stanza
    with pytest.raises(ProtocolError, match="a stanza is larger than"):
        list(stream.feed(b"<x/>" * 300_000))


@pytest.mark.parametrize(
    "change",
    [
        (b"<label>17<", b"<label>99999999<"),
        (b"<address>10.0.0.3/32<", b"<address>10.0.0.3/33<"),
        (b"10.0.0.3/32", b"10.0.0.300/32"),
        (b"<med>0<", b"<med>4294967296<"),
        (b"<tag>7<", b"<tag>4294967296<"),
        (b"<item ", b"<stem "),
        (b"<address>1.1.1.1<", b"<address>1.1.1<"),
    ],
)
def test_routes_that_are_wrong_are_for_the_parser_to_say(change):
    item = RouteItem(Prefix.parse("10.0.0.3/32"), (NextHop(0x01010101, 17, tags=(7,)),))
    stanza = RoutesSent("r", (item,))
    [xml] = encode_from_control(stanza, "host1", 1)
    assert routes_quickly(xml, [len(HEADER)]) == ([stanza], 1)
    broken = xml.replace(*change).replace(b"</stem>", b"</item>")
    assert read_routes(broken, 0) is None
    with pytest.raises(ProtocolError):
        routes_quickly(broken, [len(HEADER)])


def test_a_pair_inside_another_stanza_is_no_pair():
    pair = encode_from_agent(RouteRetracted("r", Prefix(0, 0)), "host1", 1)
    inside = b"<iq><![CDATA[" + pair + b"]]></iq>"
    stream = XmlStream(1 << 20, read_quickly, START)
    events = list(stream.feed(HEADER + inside))
    assert [type(each) for each in events] == [StreamOpened, Element]
    assert events[1].text == pair.decode()
